-- Say what was used in the periods that are, and with the last part that the store is complete.
-- KEYS[4] lock, KEYS[5...] counters. ARGV[3] JSON of {start, end, used} for each; ARGV[4] the lock's owner;
-- ARGV[5] until when, Unix seconds: what ended later is not in it; empty when more follows. LOADED, or LOST when another one loads.
local told = cjson.decode(ARGV[3])

begin()
if redis.call('GET', KEYS[4]) ~= ARGV[4] then return 'LOST' end
for i, value in ipairs(told) do
  local limit = {DAY, 0, 0, 0, 0, KEYS[4 + i]}
  local found = counter(limit)
  local held = found and found[1] == value[1] and found[3] or 0
  put(limit, {value[1], value[2], held, value[3]})
end
if ARGV[5] ~= '' then
  redis.call('SET', KEYS[2], ARGV[5], 'PX', IDLE)
  redis.call('DEL', KEYS[4])
end
return finish('LOADED')
