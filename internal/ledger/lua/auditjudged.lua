-- FinishSuspects counts what became of keys that were set aside; those that are left are looked at again later.
-- ARGV: now, session, batch, items left (or ""), ms to wait, problem (or ""), bound of names, number of counters,
-- then name and value of each counter, then differences (JSON). Returns 1, or 0 when the task is not ours.
local f = 'z:' .. ARGV[3]
if not owns(ARGV[2], f) then return 0 end
if ARGV[6] ~= '' then redis.call('HSET', AUDIT, 'problem', ARGV[6]) end
local at = 9
for _ = 1, tonumber(ARGV[8]) do
  redis.call('HINCRBY', AUDIT, ARGV[at], ARGV[at + 1])
  at = at + 2
end
for i = at, #ARGV do
  if redis.call('LLEN', G .. 'anames') < tonumber(ARGV[7]) then redis.call('RPUSH', G .. 'anames', ARGV[i]) end
end
if ARGV[4] == '' then
  endtask(ARGV[2], f)
else
  redis.call('HSET', G .. f, 'items', ARGV[4], 'due', NOW + tonumber(ARGV[5]))
  redis.call('HDEL', G .. 'w:' .. ARGV[2], f)
  redis.call('RPUSH', G .. 'zq', ARGV[3])
end
return 1
