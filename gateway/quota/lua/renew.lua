-- Prolong leases and note checkpoints. KEYS[4...] holds. ARGV[3] JSON of what each has spent.
-- RENEWED and a letter for each hold: k known, e ended, u never heard of.
local spent, known = cjson.decode(ARGV[3]), {}

begin()
-- Said first because it needs no memory: a script that has written goes on where memory is full.
redis.call('PEXPIRE', KEYS[3], IDLE)
expire()
for i, checkpoint in ipairs(spent) do
  local key = KEYS[3 + i]
  local hold = hold_of(key)
  if not hold then
    known[i] = 'u'
  elseif hold[1] == ENDED then
    known[i] = 'e'
  else
    if hold[1] == EXPIRED then
      for _, limit in ipairs(hold[3]) do move(limit, hold[2], limit[4], -(hold[4][limit[5]] or 0)) end
    end
    known[i] = 'k'
    hold[1], hold[4] = LIVE, checkpoint
    keep_hold(key, hold, IDLE)
    lease(key, common[3])
  end
end
return finish('RENEWED', {table.concat(known)})
