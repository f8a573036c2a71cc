-- Hold again what the store has lost. KEYS[4] hold, KEYS[5...] counters. ARGV[3] JSON of {limits, spent, admitted at}.
-- REGISTERED, ENDED; or what stands in the way: REBUILD, CLOCK, MORE.
local asked = cjson.decode(ARGV[3])
local limits = asked[1]

if not begin() then return 'REBUILD' end
if not known_periods(limits) then return 'CLOCK ' .. text(now) end
if not expire() then return finish('MORE') end
fetch(limits, 5)
local known, at = hold_of(KEYS[4]), math.min(asked[3], now)
if known then return finish(known[1] == ENDED and 'ENDED' or 'REGISTERED') end
keep_hold(KEYS[4], {LIVE, at, limits, asked[2]}, IDLE)
lease(KEYS[4], common[3])
for _, limit in ipairs(limits) do
  if limit[1] >= DAY then put(limit, budget(limit)) end
  move(limit, at, limit[4], 0)
end
return finish('REGISTERED')
