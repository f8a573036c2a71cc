-- Grafana reads the ledger as a user who may only read, and nothing but what the dashboards ask for: no keys, no audit.
\getenv password GRAFANA_DB_PASSWORD
CREATE ROLE grafana LOGIN PASSWORD :'password';
-- The gateway makes its tables later, as the user who runs this, and they are named one by one then.
CREATE FUNCTION let_grafana_read() RETURNS event_trigger LANGUAGE plpgsql AS $$
DECLARE made record;
BEGIN
    FOR made IN SELECT * FROM pg_event_trigger_ddl_commands() LOOP
        IF made.object_identity IN ('public.requests', 'public.usage_days', 'public.tenants') THEN
            EXECUTE format('GRANT SELECT ON %s TO grafana', made.object_identity);
        END IF;
    END LOOP;
END $$;
CREATE EVENT TRIGGER let_grafana_read ON ddl_command_end WHEN TAG IN ('CREATE TABLE') EXECUTE FUNCTION let_grafana_read();
