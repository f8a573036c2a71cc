-- What all scripts of the hold store share. Each script is this text and its own, loaded once.
--
-- KEYS[1] clock, KEYS[2] generation, KEYS[3] leases of one tenant, what follows is the script's own.
-- ARGV[1] JSON of {tombstone ms, first lease s, lease s, retry s, periods of days, periods of months}, each period
--         {start, end}: those around the caller's time. ARGV[2] the time, empty for the server's own.
--
-- Values, packed as MessagePack, which keeps whole numbers up to 2^53 and doubles as they are (cjson would not):
--   slots   held, as text
--   window  {sum, held, then index, last, count of each bucket}, as gateway/core/quota/windows.py
--   budget  {start, end, held, used} of one period; the next one begins anew
--   hold    {LIVE or EXPIRED, admitted at, limits, spent}, or {ENDED}
-- A limit is {kind, seconds, most, amount, unit, key}; amounts of units are lists in the order of their numbers.
local SLOT, WINDOW, DAY = 0, 1, 2
local ENDED, LIVE, EXPIRED = 0, 1, 2
local BUCKETS = 60
-- Longer than the longest period, so that nothing is forgotten that still counts. Milliseconds.
local IDLE = 40 * 86400 * 1000
-- Leases that one call expires, about 10 ms of work; a caller that is told of more asks again.
local AT_ONCE = 500

local PREFIX = string.sub(KEYS[1], 1, -6)
local common = cjson.decode(ARGV[1])
local counters, changed, expired = {}, {}, 0
local now

local function text(number) return string.format('%.17g', number) end
local function whole(number) return string.format('%.0f', number) end

-- Read the clock, which never goes back; return whether the store has what was used so far.
local function begin()
  local kept = redis.call('MGET', KEYS[1], KEYS[2])
  if ARGV[2] ~= '' then
    now = tonumber(ARGV[2])
  else
    local time = redis.call('TIME')
    now = time[1] + time[2] / 1000000
  end
  now = math.max(now, tonumber(kept[1] or '0'))
  return kept[2]
end

-- Return the period of a day or month that it is, nil where the caller did not name it.
local function period(kind)
  for _, known in ipairs(common[kind + 3]) do
    if now >= known[1] and now < known[2] then return known end
  end
end

local function known_periods(limits)
  for _, limit in ipairs(limits) do
    if limit[1] >= DAY and not period(limit[1]) then return false end
  end
  return true
end

local function decoded(kind, raw)
  if not raw then return false end
  if kind == SLOT then return {tonumber(raw)} end
  return cmsgpack.unpack(raw)
end

-- Read all counters of one request at once.
local function fetch(limits, first)
  local keys = {}
  for i, limit in ipairs(limits) do
    limit[6] = KEYS[first + i - 1]
    if counters[limit[6]] == nil then keys[#keys + 1] = i end
  end
  if #keys == 0 then return end
  local names = {}
  for n, i in ipairs(keys) do names[n] = limits[i][6] end
  local raw = redis.call('MGET', unpack(names))
  for n, i in ipairs(keys) do counters[names[n]] = decoded(limits[i][1], raw[n]) end
end

local function counter(limit)
  local found = counters[limit[6]]
  if found == nil then
    found = decoded(limit[1], redis.call('GET', limit[6]))
    counters[limit[6]] = found
  end
  return found
end

local function put(limit, value)
  counters[limit[6]] = value
  changed[limit[6]] = limit
end

-- Drop what has left the window.
local function window(limit)
  local found = counter(limit)
  if not found then return {0, 0} end
  local from, size = 3, #found
  while from < size and found[from + 1] + limit[2] <= now do
    found[1] = found[1] - found[from + 2]
    from = from + 3
  end
  if from == 3 then return found end
  local left = {found[1], found[2]}
  for i = from, size do left[#left + 1] = found[i] end
  counters[limit[6]] = left
  return left
end

-- Return the counter of the period that it is; one that is over counts nothing any more.
local function budget(limit)
  local found = counter(limit)
  if found and now < found[2] then return found end
  local current = period(limit[1])
  return {current[1], current[2], 0, 0}
end

local function add(limit, amount)
  local found, index = window(limit), math.floor(now / (limit[2] / BUCKETS))
  local size = #found
  if size > 2 and found[size - 2] == index then
    found[size - 1] = now
    found[size] = found[size] + amount
  else
    found[size + 1], found[size + 2], found[size + 3] = index, now, amount
  end
  found[1], found[2] = found[1] + amount, found[2] + amount
  put(limit, found)
end

local function adjust(found, limit, at, by)
  local index, place, size = math.floor(at / (limit[2] / BUCKETS)), 3, #found
  while place < size and found[place] < index do place = place + 3 end
  if place < size and found[place] == index then
    by = math.max(by, -found[place + 2])
    found[place + 2] = found[place + 2] + by
    found[1] = found[1] + by
    if found[place + 2] == 0 then
      for _ = 1, 3 do table.remove(found, place) end
    end
  elseif by > 0 and at + limit[2] > now then
    table.insert(found, place, by)
    table.insert(found, place, at)
    table.insert(found, place, index)
    found[1] = found[1] + by
  end
end

-- Change by held and used what was admitted at a time; return by how much that takes a budget past its limit.
local function move(limit, at, held, used)
  if held == 0 and used == 0 then return 0 end
  if limit[1] == SLOT then
    local found = counter(limit) or {0}
    put(limit, {math.max(0, found[1] + held)})
    return 0
  end
  if limit[1] == WINDOW then
    local found = window(limit)
    found[2] = math.max(0, found[2] + held)
    adjust(found, limit, at, held + used)
    put(limit, found)
    return 0
  end
  local found = counter(limit)
  if not found or at < found[1] or now >= found[2] then return 0 end
  local over = math.max(0, found[4] - limit[3])
  found[3] = math.max(0, found[3] + held)
  found[4] = found[4] + used
  put(limit, found)
  return math.max(0, found[4] - limit[3] - over)
end

local function hold_of(key)
  local raw = redis.call('GET', key)
  return raw and cmsgpack.unpack(raw)
end

local function keep_hold(key, hold, milliseconds)
  redis.call('SET', key, cmsgpack.pack(hold), 'PX', milliseconds)
end

local function lease(key, seconds)
  redis.call('ZADD', KEYS[3], text(now + seconds), string.sub(key, #PREFIX + 6))
  redis.call('PEXPIRE', KEYS[3], IDLE)
  redis.call('PEXPIRE', KEYS[2], IDLE)
end

-- Settle what is due at its last checkpoint; return whether that was all.
local function expire()
  local due = redis.call('ZRANGEBYSCORE', KEYS[3], '-inf', text(now), 'LIMIT', 0, AT_ONCE)
  for _, id in ipairs(due) do
    redis.call('ZREM', KEYS[3], id)
    local key = PREFIX .. 'hold:' .. id
    local hold = hold_of(key)
    if hold and hold[1] == LIVE then
      for _, limit in ipairs(hold[3]) do move(limit, hold[2], -limit[4], hold[4][limit[5]] or 0) end
      hold[1] = EXPIRED
      keep_hold(key, hold, common[1])
      expired = expired + 1
    end
  end
  return #due < AT_ONCE
end

-- Where limits stand: used, held, and of a window the seconds until something leaves it.
local function standing(limits, out)
  for _, limit in ipairs(limits) do
    local used, held, reset = 0, 0, '0'
    if limit[1] == SLOT then
      held = (counter(limit) or {0})[1]
    elseif limit[1] == WINDOW then
      local found = window(limit)
      held = math.min(found[1], found[2])
      used = found[1] - held
      reset = text(found[4] and math.min(limit[2], found[4] + limit[2] - now) or limit[2])
    else
      local found = budget(limit)
      held, used = found[3], found[4]
    end
    out[#out + 1] = whole(used)
    out[#out + 1] = whole(held)
    out[#out + 1] = reset
  end
end

-- Write what was changed, and return the answer.
local function finish(answer, out)
  redis.call('SET', KEYS[1], text(now), 'PX', IDLE)
  for key, limit in pairs(changed) do
    local value = counters[key]
    if limit[1] == SLOT then
      if value[1] > 0 then
        redis.call('SET', key, whole(value[1]), 'PX', IDLE)
      else
        redis.call('DEL', key)
      end
    elseif limit[1] == WINDOW then
      if #value == 2 and value[2] == 0 then
        redis.call('DEL', key)
      else
        -- What is held of it must be given back to it, however late.
        local keep = value[2] > 0 and IDLE or math.ceil(limit[2] * 1100)
        redis.call('SET', key, cmsgpack.pack(value), 'PX', keep)
      end
    else
      local keep = math.max(1, math.ceil((value[2] - now + 3600) * 1000))
      redis.call('SET', key, cmsgpack.pack(value), 'PX', whole(keep))
    end
  end
  local head = answer .. ' ' .. text(now) .. ' ' .. expired
  if not out or #out == 0 then return head end
  return head .. ' ' .. table.concat(out, ' ')
end
