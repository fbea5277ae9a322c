-- Advance queues a listed page's batch and moves the range's cursor, in one step.
-- ARGV: now, session, range, cursor, done ("1"/""), queue bound, items (or ""), objects, bytes,
-- skipped objects, skipped bytes. Returns {"OK", end, number}, {"FULL"} or {"LOST"}.
local id = ARGV[3]
local k = G .. 'r:' .. id
if redis.call('HEXISTS', G .. 'w:' .. ARGV[2], 'r:' .. id) == 0 then return {'LOST'} end
if ARGV[7] ~= '' and redis.call('LLEN', G .. 'cq') >= tonumber(ARGV[6]) then return {'FULL'} end
local bucket = redis.call('HGET', k, 'bucket')
local bk = G .. 'b:' .. bucket
redis.call('HINCRBY', bk, 'objects', tonumber(ARGV[8]) + tonumber(ARGV[10]))
redis.call('HINCRBY', bk, 'bytes', tonumber(ARGV[9]) + tonumber(ARGV[11]))
redis.call('HINCRBY', bk, 'skipped', ARGV[10])
redis.call('HINCRBY', bk, 'skippedbytes', ARGV[11])
if ARGV[7] ~= '' then
  local c = redis.call('INCR', G .. 'next')
  redis.call('HSET', G .. 'c:' .. c, 'bucket', bucket, 'items', ARGV[7])
  redis.call('HINCRBY', bk, 'open', 1)
  redis.call('RPUSH', G .. 'cq', c)
end
local e = redis.call('HGET', k, 'end')
if ARGV[5] == '1' then
  redis.call('DEL', k)
  redis.call('HDEL', G .. 'w:' .. ARGV[2], 'r:' .. id)
  closeone(bucket, -1)
else
  redis.call('HSET', k, 'cursor', ARGV[4])
end
return {'OK', e, tostring(told(ARGV[2]))}
