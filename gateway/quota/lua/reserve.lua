-- Hold everything or nothing. KEYS[4] hold, KEYS[5...] counters. ARGV[3] JSON of {limits, spent}.
-- HELD lease admitted-at states; REFUSED limit seconds spent states (-1 seconds: never); ENDED; or what stands in the
-- way: REBUILD, CLOCK, MORE.
local asked = cjson.decode(ARGV[3])
local limits = asked[1]

-- Return how long an amount has to wait, nil when it does not, -1 for ever; and whether only the next period helps.
local function wait(limit)
  local amount, most = limit[4], limit[3]
  if amount == 0 then return nil end
  if amount > most then return -1, false end
  if limit[1] == SLOT then
    local found = counter(limit)
    if (found and found[1] or 0) + amount <= most then return nil end
    return common[4], false
  end
  if limit[1] == WINDOW then
    local found = window(limit)
    local excess = found[1] + amount - most
    if excess <= 0 then return nil end
    for place = 3, #found, 3 do
      excess = excess - found[place + 2]
      if excess <= 0 then return math.min(limit[2], found[place + 1] + limit[2] - now), false end
    end
    return -1, false
  end
  local found = budget(limit)
  if found[4] + found[3] + amount <= most then return nil end
  if found[4] + amount <= most then return common[4], false end
  return found[2] - now, true
end

local function refusal()
  local refusing, longest, spent = nil, 0, false
  for i, limit in ipairs(limits) do
    local seconds, only_next = wait(limit)
    if seconds == -1 then return i, -1, false end
    if seconds and seconds > longest then refusing, longest, spent = i, seconds, only_next end
  end
  return refusing, longest, spent
end

local function take(limit)
  if limit[1] == WINDOW then
    if limit[4] > 0 then add(limit, limit[4]) end
  elseif limit[1] == SLOT then
    if limit[4] > 0 then put(limit, {(counter(limit) or {0})[1] + limit[4]}) end
  else
    -- Also with nothing held: what is used must find its period.
    local found = budget(limit)
    found[3] = found[3] + limit[4]
    put(limit, found)
  end
end

if not begin() then return 'REBUILD' end
if not known_periods(limits) then return 'CLOCK ' .. text(now) end
if not expire() then return finish('MORE') end
fetch(limits, 5)
local known, out = hold_of(KEYS[4]), {}
if known then
  if known[1] ~= LIVE then return finish('ENDED') end
  local id = string.sub(KEYS[4], #PREFIX + 6)
  out = {redis.call('ZSCORE', KEYS[3], id), text(known[2])}
  standing(limits, out)
  return finish('HELD', out)
end
local refusing, seconds, spent = refusal()
if refusing then
  out = {tostring(refusing - 1), text(seconds), spent and '1' or '0'}
  standing(limits, out)
  return finish('REFUSED', out)
end
-- The first write that needs memory: without any the whole step fails before it has changed something.
keep_hold(KEYS[4], {LIVE, now, limits, asked[2]}, IDLE)
lease(KEYS[4], common[2])
for _, limit in ipairs(limits) do take(limit) end
out = {text(now + common[2]), text(now)}
standing(limits, out)
return finish('HELD', out)
