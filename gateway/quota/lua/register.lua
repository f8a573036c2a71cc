-- Hold again what the store has lost. KEYS[4] hold, KEYS[5...] counters. ARGV[3] JSON of {limits, spent, admitted at,
-- ended at}, 0 for one that runs. REGISTERED; ENDED, which is also one whose end is in what the store was filled with; or what stands in the way: REBUILD, CLOCK, MORE.
local asked = cjson.decode(ARGV[3])
local limits = asked[1]

local filled = begin()
if not filled then return 'REBUILD' end
if not known_periods(limits) then return 'CLOCK ' .. text(now) end
if not expire() then return finish('MORE') end
fetch(limits, 5)
local known, at = hold_of(KEYS[4]), math.min(asked[3], now)
if not known and asked[4] > 0 and asked[4] <= tonumber(filled) then
  keep_hold(KEYS[4], {ENDED}, common[1])
  return finish('ENDED')
end
if known then return finish(known[1] == ENDED and 'ENDED' or 'REGISTERED') end
keep_hold(KEYS[4], {LIVE, at, limits, asked[2]}, IDLE)
lease(KEYS[4], common[3])
for _, limit in ipairs(limits) do
  if limit[1] >= DAY then put(limit, budget(limit)) end
  move(limit, at, limit[4], 0)
end
return finish('REGISTERED')
