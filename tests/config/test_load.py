"""load_config: who wins, what is refused and in which words. Files are real; the environment is an argument."""

from pathlib import Path

import pytest
from pydantic import SecretStr, ValidationError

from gateway.config import Config, ConfigError, load_config, read_config
from gateway.web.settings import ServerSettings


@pytest.fixture(autouse=True)
def _empty_directory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def toml(text: str) -> Path:
    file = Path("gateway.toml")
    file.write_text(text, encoding="utf-8")
    return file


def env(text: str, name: str = "some.env") -> Path:
    file = Path(name)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text, encoding="utf-8")
    return file


def refused(*args, **kwargs) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load_config(*args, **({"environ": {}} | kwargs))
    return str(caught.value).splitlines()


def test_nothing_at_all_is_the_built_in_defaults():
    assert load_config(None, environ={}) == Config()


def test_the_defaults_are_those_of_the_manual():
    config = load_config(None, environ={})
    assert (config.server.listen, config.server.ops_listen) == ("127.0.0.1:8080", "127.0.0.1:9464")
    assert (config.data_dir, config.database_url) == (Path("data"), "sqlite:///data/tokenweir.db")
    assert list(config.plans) == ["default"]
    assert len(config.upstreams) == 1
    assert (config.anonymous_default.requests, config.anonymous_default.window) == (10, 60.0)


def test_a_config_cannot_be_changed_and_reads_no_ambient_environment(monkeypatch):
    monkeypatch.setenv("TOKENWEIR_SERVER__LISTEN", "0.0.0.0:1")
    config = Config()
    assert config.server.listen == "127.0.0.1:8080"
    with pytest.raises(ValidationError):
        config.data_dir = Path("elsewhere")


def test_the_command_line_beats_the_environment_beats_dotenv_beats_the_file():
    file = toml('[server]\nlisten = "h:1"\n')
    dotenv = env("TOKENWEIR_SERVER__LISTEN=h:2\n")
    environ = {"TOKENWEIR_SERVER__LISTEN": "h:3"}
    overrides = {"server.listen": "h:4", "server.ops_listen": None}
    assert load_config(file, environ={}).server.listen == "h:1"
    assert load_config(file, dotenv, environ={}).server.listen == "h:2"
    assert load_config(file, dotenv, environ=environ).server.listen == "h:3"
    assert load_config(file, dotenv, environ=environ, overrides=overrides).server.listen == "h:4"


@pytest.mark.parametrize(
    ("text", "dotenv", "environ", "overrides"),
    [
        ("[server]\nmax_streams = 10000\n", "", {}, {}),
        ("", "TOKENWEIR_SERVER__MAX_STREAMS=10000\n", {}, {}),
        ("", "", {"TOKENWEIR_SERVER__MAX_STREAMS": "10000"}, {}),
        ("", "", {}, {"server.max_streams": 10_000}),
    ],
    ids=["file", "dotenv", "environment", "command line"],
)
def test_a_key_that_is_set_to_its_default_is_known_from_one_that_is_not_set(text, dotenv, environ, overrides):
    server = load_config(toml(text), env(dotenv), environ=environ, overrides=overrides).server
    assert server == ServerSettings()
    assert server.model_fields_set == {"max_streams"}
    assert load_config(None, environ={"TOKENWEIR_SERVER__MAX_STREAMS": ""}).server.model_fields_set == set()


def test_a_stronger_source_changes_only_the_keys_it_names():
    file = toml('[server]\nlisten = "h:1"\nheartbeat = "7s"\n')
    config = load_config(file, environ={"TOKENWEIR_SERVER__LISTEN": "h:3"})
    assert (config.server.listen, config.server.heartbeat) == ("h:3", 7.0)


def test_the_files_in_the_working_directory_are_read_unasked_and_the_old_server_env_is_not():
    Path("config").mkdir()
    Path("config/gateway.toml").write_text("[server]\nheartbeat = 3\n", encoding="utf-8")
    env("TOKENWEIR_SERVER__COMMIT_AFTER=4s", ".env")
    env("API_PORT=3001", "server/.env")
    loaded = read_config(None, environ={})
    assert (loaded.config.server.heartbeat, loaded.config.server.commit_after) == (3.0, 4.0)
    assert loaded.config.server.listen == "127.0.0.1:8080"
    assert loaded.files == ("config/gateway.toml", ".env")


def test_variables_reach_every_kind_of_key():
    config = load_config(
        toml('[[upstreams]]\nname = "one"\n[[upstreams]]\nname = "two"\n'),
        environ={
            "TOKENWEIR_DATA_DIR": "/var/lib/tokenweir",
            "TOKENWEIR_SERVER__CORS_ORIGINS": "https://a.example, https://b.example",
            "TOKENWEIR_SERVER__TRUSTED_PROXIES": '["10.0.0.0/8"]',
            "TOKENWEIR_SERVER__MAX_BODY": "1MiB",
            "TOKENWEIR_CHAT__ALIASES": '{"claude-2": "claude-sonnet-5-5"}',
            "TOKENWEIR_PLANS__BROWSER__MODELS": "claude-*",
            "TOKENWEIR_PLANS__BROWSER__PER_ADDRESS__REQUESTS_PER_MINUTE": "5",
            "TOKENWEIR_UPSTREAMS__1__API_KEY": "sk-two",
            "TOKENWEIR_ANONYMOUS__0__ORIGINS": "https://shop.example,loopback",
            "TOKENWEIR_ANONYMOUS__0__TENANT": "shop",
            "TOKENWEIR_ANONYMOUS__0__PLAN": "browser",
        },
    )
    assert config.database_url == "sqlite:////var/lib/tokenweir/tokenweir.db"
    assert config.server.cors_origins == ("https://a.example", "https://b.example")
    assert [str(network) for network in config.server.trusted_proxies] == ["10.0.0.0/8"]
    assert config.server.max_body == 1024 * 1024
    assert config.chat.aliases == {"claude-2": "claude-sonnet-5-5"}
    assert set(config.plans) == {"default", "browser"}
    assert config.plans["browser"].models == ("claude-*",)
    assert config.plans["browser"].per_address.requests_per_minute == 5
    assert [(up.name, up.api_key.get_secret_value()) for up in config.upstreams] == [("one", ""), ("two", "sk-two")]
    assert config.anonymous[0].origins == ("https://shop.example", "loopback")


def test_a_whole_list_of_tables_can_be_one_json_variable():
    config = load_config(None, environ={"TOKENWEIR_UPSTREAMS": '[{"name": "a"}, {"name": "b"}]'})
    assert [upstream.name for upstream in config.upstreams] == ["a", "b"]


def test_an_empty_variable_is_unset():
    environ = {
        "TOKENWEIR_SERVER__LISTEN": "",
        "TOKENWEIR_SERVER__NONSENSE": "",
        "ANTHROPIC_API_KEY": "",
        "API_PORT": "",
    }
    assert load_config(None, environ=environ) == Config()


def test_a_wrong_value_names_key_value_and_what_is_allowed():
    lines = refused(
        toml('[server]\nheartbeat = "soon"\n[chat]\nclient_system = "perhaps"\n'),
        environ={"TOKENWEIR_SERVER__WORKERS": "many", "TOKENWEIR_SERVER__MAX_BODY": "5 bananas"},
        overrides={"server.listen": "8080"},
    )
    assert sorted(lines) == [
        (
            '--listen = "8080" (command line): allowed: HOST:PORT, such as 127.0.0.1:8080 or [::1]:8080; '
            "0.0.0.0 and [::] are all addresses"
        ),
        (
            'TOKENWEIR_SERVER__MAX_BODY = "5 bananas" (environment): allowed: a number of bytes, or a text such as '
            "64KiB or 32MiB"
        ),
        'TOKENWEIR_SERVER__WORKERS = "many" (environment): allowed: a whole number',
        'chat.client_system = "perhaps" (gateway.toml): allowed: "allow" or "ignore"',
        (
            'server.heartbeat = "soon" (gateway.toml): allowed: a number of seconds, or a text such as 500ms, 30s, 5m, '
            "1h or 30d"
        ),
    ]


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("[server]\nheartbeat = 0", "server.heartbeat = 0 (gateway.toml): allowed: greater than 0"),
        ("[server]\nworkers = 300", "server.workers = 300 (gateway.toml): allowed: less than or equal to 256"),
        ("[log]\nlog_addresses = 5", "log.log_addresses = 5 (gateway.toml): allowed: true or false"),
        ('[server]\ncors_origins = "x"', 'server.cors_origins = "x" (gateway.toml): allowed: a list'),
        ("chat = 3", "chat = 3 (gateway.toml): allowed: a table of keys and values"),
        ("[chat]\nmodel = 3", "chat.model = 3 (gateway.toml): allowed: a text"),
        ('[upstreams]\nname = "x"', "upstreams (gateway.toml): allowed: a list of tables, each written [[upstreams]]"),
        ('[[anonymous]]\norigins = ["*"]', "anonymous[0].tenant (gateway.toml): this key is needed"),
        (
            "[[anonymous]]\norigins = []\ntenant = 'a'",
            "anonymous[0].origins = [] (gateway.toml): allowed: a list with an entry at least",
        ),
        (
            '[[upstreams]]\nbase_url = "claude"',
            'upstreams[0].base_url = "claude" (gateway.toml): allowed: a URL such as https://api.anthropic.com',
        ),
        (
            '[[upstreams]]\nbase_url = "ftp://x"',
            'upstreams[0].base_url = "ftp://x" (gateway.toml): allowed: a URL that starts with http:// or https://',
        ),
        (
            '[upstream]\nca_file = "missing.pem"',
            'upstream.ca_file = "missing.pem" (gateway.toml): no such file',
        ),
        (
            '[server]\ntls_certificate = "missing.pem"',
            'server.tls_certificate = "missing.pem" (gateway.toml): cannot be read: No such file or directory',
        ),
        (
            '[server]\ntls_key = "missing.pem"',
            'server.tls_key = "missing.pem" (gateway.toml): there is no certificate to it; set server.tls_certificate',
        ),
        (
            '[server]\ntls_certificate = "gateway.toml"',
            (
                'server.tls_certificate = "gateway.toml" (gateway.toml): allowed: a file in PEM form, '
                "with its key in it or in tls_key, without a password"
            ),
        ),
        (
            "[[upstreams]]\n[[upstreams]]",
            'upstreams[1].name = "claude" (gateway.toml): another upstream has this name; metrics need them apart',
        ),
        (
            '[plans.gold]\n[[anonymous]]\norigins = ["*"]\ntenant = "t"\nplan = "glod"',
            'anonymous[0].plan = "glod" (gateway.toml): no such plan; allowed: default, gold',
        ),
        ("[server]\nworkers = 2\nworkers", "gateway.toml:3: not TOML: Expected '=' after a key in a key/value pair"),
    ],
)
def test_each_kind_of_mistake_has_its_words(text, line):
    assert refused(toml(text)) == [line]


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("[server]\nhartbeat = 3", "server.hartbeat (gateway.toml): unknown key; did you mean server.heartbeat?"),
        ("[sever]\nlisten = 'h:1'", "sever (gateway.toml): unknown key; did you mean server?"),
        ("[chat]\nheartbeat = 3", "chat.heartbeat (gateway.toml): unknown key; did you mean server.heartbeat?"),
        (
            "[plans.gold.per_key]\nrequest_per_minute = 3",
            (
                "plans.gold.per_key.request_per_minute (gateway.toml): unknown key; "
                "did you mean plans.gold.per_key.requests_per_minute?"
            ),
        ),
        (
            "[[upstreams]]\n[[upstreams]]\nname = 'b'\nbaseurl = 'x'",
            "upstreams[1].baseurl (gateway.toml): unknown key; did you mean upstreams[1].base_url?",
        ),
        ("[server]\nzzz = 1", "server.zzz (gateway.toml): unknown key"),
    ],
)
def test_an_unknown_key_is_named_with_the_nearest_known_one(text, line):
    assert refused(toml(text)) == [line]


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("TOKENWEIR_SERVER__HARTBEAT", "unknown key; did you mean TOKENWEIR_SERVER__HEARTBEAT?"),
        ("TOKENWEIR_SEVER__LISTEN", "unknown variable; did you mean TOKENWEIR_SERVER__LISTEN?"),
        ("TOKENWEIR_SERVER_LISTEN", "unknown variable; did you mean TOKENWEIR_SERVER__LISTEN?"),
        ("TOKENWEIR_DATABSE_URL", "unknown variable; did you mean TOKENWEIR_DATABASE_URL?"),
        ("TOKENWEIR_XYZ__HEARTBEAT", "unknown variable; did you mean TOKENWEIR_SERVER__HEARTBEAT?"),
        ("TOKENWEIR_ZZZZ__QQQQ", "unknown variable"),
        (
            "TOKENWEIR_UPSTREAMS__NAME",
            "an entry of a list is named by its index, as in TOKENWEIR_UPSTREAMS__0__NAME",
        ),
        ("TOKENWEIR_UPSTREAMS__1__NAME", "there is no entry 0 before it"),
    ],
)
def test_an_unknown_variable_is_named_with_the_nearest_known_one(name, hint):
    assert refused(None, environ={name: "1"}) == [f"{name} (environment): {hint}"]


def test_variables_that_kubernetes_sets_for_a_service_are_not_ours():
    names = ["PORT", "PORT_8080_TCP", "PORT_8080_TCP_ADDR", "SERVICE_HOST", "SERVICE_PORT", "SERVICE_PORT_HTTP"]
    names += [f"SERVER_{name}" for name in names]
    loaded = read_config(None, environ={f"TOKENWEIR_{name}": "tcp://10.0.0.1:8080" for name in names})
    assert loaded.config == Config()
    assert loaded.notes == ()


def test_a_variable_that_looks_like_ours_and_sets_nothing_is_a_note():
    loaded = read_config(None, environ={"TOKENWEIR_VERSION": "1", "TOKENWEIR_IMAGE": "x", "TOKENWEIR_COLOUR": ""})
    assert loaded.config == Config()
    assert loaded.notes == (
        "TOKENWEIR_IMAGE, TOKENWEIR_VERSION (environment): no setting is called so, it has no effect",
    )


def test_in_a_dotenv_every_unknown_variable_of_ours_is_an_error_and_others_are_ignored():
    file = env(
        "NODE_ENV=production\nVITE_API_URL=/api\nCORS_ORIGIN=*\nPORT=1\nTOKENWEIR_COLOUR=red\nbroken line here\n"
    )
    assert refused(None, file) == ["TOKENWEIR_COLOUR (some.env): unknown variable"]


def test_the_old_deployments_dotenv_works_unmoved():
    file = env(
        "\ufeff# server\nNODE_ENV=production\nexport ANTHROPIC_API_KEY='sk-ant-$old'\nAPI_PORT=3001\n"
        "RATE_LIMIT_WINDOW=900000\nRATE_LIMIT_MAX=100\nALLOWED_ORIGINS=http://localhost:5173\nEMPTY\n",
        "server/.env",
    )
    config = load_config(None, file, environ={})
    assert config.server.listen == "127.0.0.1:3001"
    assert config.upstreams[0].api_key.get_secret_value() == "sk-ant-$old"
    assert (config.anonymous_default.requests, config.anonymous_default.window) == (100, 900.0)
    assert config.server.cors_origins == ()


def test_borrowed_names_only_fill_in_what_is_unset_and_say_so_when_they_lose():
    file = toml(
        '[server]\nlisten = "h:1"\n[[upstreams]]\nname = "own"\napi_key = "sk-own"\n[[upstreams]]\nname = "b"\n'
    )
    environ = {"API_PORT": "9", "ANTHROPIC_API_KEY": "sk-other", "ANTHROPIC_BASE_URL": "https://claude.example/"}
    loaded = read_config(file, environ=environ)
    first, second = loaded.config.upstreams
    assert loaded.config.server.listen == "h:1"
    assert (first.api_key.get_secret_value(), str(first.base_url)) == ("sk-own", "https://claude.example/")
    assert (second.api_key.get_secret_value(), second.base_url.host) == ("", "api.anthropic.com")
    assert loaded.notes == (
        "ANTHROPIC_API_KEY (environment) is not used: upstreams[0].api_key (gateway.toml) is set",
        "API_PORT (environment) is not used: server.listen (gateway.toml) is set",
    )


def test_the_environments_borrowed_name_beats_the_dotenvs():
    file = env("API_PORT=1\nANTHROPIC_API_KEY=a")
    config = load_config(None, file, environ={"API_PORT": "2", "PORT": "3"})
    assert (config.server.listen, config.upstreams[0].api_key.get_secret_value()) == ("127.0.0.1:2", "a")


@pytest.mark.parametrize(
    ("name", "value", "allowed"),
    [
        ("API_PORT", "http", "a port from 1 to 65535"),
        ("API_PORT", "0", "a port from 1 to 65535"),
        ("API_PORT", "99999", "a port from 1 to 65535"),
        ("RATE_LIMIT_MAX", "ten", "a whole number, at least 1"),
        ("RATE_LIMIT_MAX", "0", "a whole number, at least 1"),
        ("RATE_LIMIT_WINDOW", "1m", "a whole number, at least 1"),
    ],
)
def test_a_wrong_borrowed_value_is_named_as_it_was_written(name, value, allowed):
    assert refused(None, environ={name: value}) == [f'{name} = "{value}" (environment): allowed: {allowed}']


def test_a_wrong_base_url_is_named_by_the_variable_it_came_from():
    assert refused(None, environ={"ANTHROPIC_BASE_URL": "nowhere"}) == [
        'ANTHROPIC_BASE_URL = "nowhere" (environment): allowed: a URL such as https://api.anthropic.com'
    ]


def test_a_borrowed_name_never_hides_a_mistake_above_its_key():
    assert refused(toml("server = 5\nupstreams = 6"), environ={"API_PORT": "1", "ANTHROPIC_API_KEY": "k"}) == [
        "server = 5 (gateway.toml): allowed: a table of keys and values",
        "upstreams (gateway.toml): allowed: a list of tables, each written [[upstreams]]",
    ]


def test_a_table_where_a_value_belongs_is_refused():
    assert refused(toml('[server]\nlisten = "h:1"'), environ={"TOKENWEIR_SERVER__LISTEN__PORT": "1"}) == [
        'server.listen = {"port": "1"} (environment): allowed: a text'
    ]


def test_a_variable_that_is_neither_json_nor_a_table_is_refused_without_its_value_where_secrets_live():
    environ = {"TOKENWEIR_UPSTREAMS": '[{"api_key": "sk-secret"', "TOKENWEIR_CHAT__ALIASES": "a=b"}
    assert sorted(refused(None, environ=environ)) == [
        'TOKENWEIR_CHAT__ALIASES = "a=b" (environment): allowed: a table of names and values',
        "TOKENWEIR_UPSTREAMS (environment): allowed: a list of tables, each written [[upstreams]]",
    ]


def test_a_key_inside_a_json_variable_is_named_within_it():
    assert refused(None, environ={"TOKENWEIR_UPSTREAMS": '[{"name": 5}]', "TOKENWEIR_CHAT": '{"model": 5}'}) == [
        "TOKENWEIR_CHAT.model = 5 (environment): allowed: a text",
        "TOKENWEIR_UPSTREAMS[0].name = 5 (environment): allowed: a text",
    ]


SECRETS = ["ANTHROPIC_API_KEY", "TOKENWEIR_KEY_PEPPER", "TOKENWEIR_DATABASE_URL", "TOKENWEIR_REDIS_URL"]
SECRETS += ["TOKENWEIR_UPSTREAMS__0__API_KEY"]


def secrets_of(config: Config) -> list[str]:
    """All secrets, in the order of SECRETS."""
    values = (config.upstreams[0].api_key, config.key_pepper, config.database_url, config.redis_url)
    plain = [value.get_secret_value() if isinstance(value, SecretStr) else value or "" for value in values]
    return [*plain, plain[0]]


@pytest.mark.parametrize("name", SECRETS)
def test_every_secret_can_be_in_a_file_and_not_in_both(name):
    file = env("sqlite-in-a-secret-place\n")
    config = load_config(None, environ={f"{name}_FILE": str(file)})
    assert secrets_of(config)[SECRETS.index(name)] == "sqlite-in-a-secret-place"
    both = {f"{name}_FILE": str(file), name: "another-secret-here"}
    assert refused(None, environ=both)[0] == f"{name}_FILE (environment): {name} is set as well; keep one of the two"


@pytest.mark.parametrize("name", SECRETS)
def test_a_secrets_file_that_gives_none_is_an_error(name):
    empty = env(" \n")
    binary = Path("binary")
    binary.write_bytes(b"\xff\xfe")
    for file, reason in (
        ("gone", "cannot be read: No such file or directory"),
        (empty, "the file is empty"),
        (binary, "cannot be read: not UTF-8 text"),
    ):
        assert refused(None, environ={f"{name}_FILE": str(file)}) == [f'{name}_FILE = "{file}" (environment): {reason}']


def test_secret_files_work_from_every_source_and_a_stronger_source_wins():
    weak, strong = env("weak-secret-of-the-file", "weak"), env("strong-secret-of-the-file", "strong")
    file = toml(f'key_pepper_file = "{weak}"\n[[upstreams]]\napi_key_file = "{weak}"\n')
    config = load_config(file, env(f"ANTHROPIC_API_KEY_FILE={strong}"), environ={})
    assert config.upstreams[0].api_key.get_secret_value() == "weak-secret-of-the-file"
    config = load_config(file, env(f"TOKENWEIR_KEY_PEPPER_FILE={strong}"), environ={"ANTHROPIC_API_KEY": "x"})
    assert secrets_of(config)[:2] == ["weak-secret-of-the-file", "strong-secret-of-the-file"]
    config = load_config(file, environ={"TOKENWEIR_KEY_PEPPER": "the-environments-own"})
    assert secrets_of(config)[1] == "the-environments-own"


@pytest.mark.parametrize(
    ("text", "environ"),
    [
        ("", {"TOKENWEIR_KEY_PEPPER": "hush hush"}),
        ('key_pepper = "hush"', {}),
        ("key_pepper = ['hush']", {}),
        ('[[upstreams]]\napi_key = ["hush"]', {}),
        ('upstreams = ["hush"]', {}),
        ('database_url = ["hush"]', {}),
        ("", {"TOKENWEIR_UPSTREAMS": "hush"}),
        ("", {"TOKENWEIR_UPSTREAMS__0": "hush"}),
        ("", {"TOKENWEIR_UPSTREAMS__0__API_KEY__X": "hush"}),
        ("", {"TOKENWEIR_UPSTREAMS__0__APIKEY": "hush"}),
        ('[[upstreams]]\nbase_url = "ftp://user:hush@host"', {}),
        ("key_peper = 'hush'", {}),
    ],
)
def test_no_error_ever_shows_a_secret(text, environ):
    lines = refused(toml(text), environ=environ)
    assert lines
    assert "hush" not in "\n".join(lines)


def test_files_that_cannot_be_read_are_named():
    Path("latin").write_bytes(b'# caf\xe9\nlisten = "x"')
    assert refused(Path("gone.toml"), Path("gone.env")) == [
        "gone.env: cannot be read: No such file or directory",
        "gone.toml: no such file",
    ]
    assert refused(Path("latin")) == ["latin: cannot be read: not UTF-8 text"]
    assert refused(None, Path("latin")) == ["latin: cannot be read: not UTF-8 text"]


def test_several_peppers_with_versions_are_one_secret():
    environ = {"TOKENWEIR_KEY_PEPPER": "1:the-first-pepper-ever,2:the-second-pepper-ev"}
    assert load_config(None, environ=environ).key_pepper == SecretStr(environ["TOKENWEIR_KEY_PEPPER"])


def test_a_syntax_error_is_told_with_its_line():
    assert refused(toml("[server]\nlisten = \nworkers = 1\n")) == ["gateway.toml:2: not TOML: Invalid value"]


def test_a_file_that_fails_while_it_is_read_is_named():
    assert refused(Path("/proc/self/mem")) == ["/proc/self/mem: cannot be read: Input/output error"]


def test_long_values_are_shortened():
    (line,) = refused(toml(f'[server]\nlisten = "{"x" * 500}"'))
    assert len(line) < 300
