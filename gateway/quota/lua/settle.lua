-- End a hold and count what was used. KEYS[4] hold. ARGV[3] JSON of what was used; ARGV[4] 1 when it was held for sure.
-- SETTLED and pairs of a limit and by how much it was passed; or UNKNOWN, when one that was held is not here.
local used, over = cjson.decode(ARGV[3]), {}

begin()
expire()
local hold = hold_of(KEYS[4])
if not hold and ARGV[4] == '1' then return finish('UNKNOWN') end
-- Before what needs memory: a script that has written goes on where memory is full.
redis.call('ZREM', KEYS[3], string.sub(KEYS[4], #PREFIX + 6))
if hold and hold[1] ~= ENDED then
  local live = hold[1] == LIVE
  for i, limit in ipairs(hold[3]) do
    local amount = used[limit[5]] or 0
    local held, counted = live and limit[4] or 0, live and 0 or hold[4][limit[5]] or 0
    local excess = move(limit, hold[2], -held, amount - counted)
    if excess > 0 then
      over[#over + 1] = tostring(i - 1)
      over[#over + 1] = whole(excess)
    end
  end
end
keep_hold(KEYS[4], {ENDED}, common[1])
return finish('SETTLED', over)
