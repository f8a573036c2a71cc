-- Say where limits stand. KEYS[4...] counters. ARGV[3] JSON of {limits}.
-- STANDING states; or what stands in the way: REBUILD, CLOCK, MORE.
local limits = cjson.decode(ARGV[3])[1]

if not begin() then return 'REBUILD' end
if not known_periods(limits) then return 'CLOCK ' .. text(now) end
if not expire() then return finish('MORE') end
fetch(limits, 4)
local out = {}
standing(limits, out)
return finish('STANDING', out)
