-- FinishBucket: the bucket's configuration is copied; queue its listing. Or it failed.
-- ARGV: now, session, bucket, unsupported (JSON), error, then after and end of each range.
-- Returns a number, or 0 when the task is not ours.
local b = ARGV[3]
if redis.call('HDEL', G .. 'w:' .. ARGV[2], 'b:' .. b) == 0 then return 0 end
if ARGV[5] ~= '' then
  redis.call('HSET', G .. 'b:' .. b, 'state', 'Failed', 'error', ARGV[5])
  return told(ARGV[2])
end
redis.call('HSET', G .. 'b:' .. b, 'state', 'Listing', 'unsupported', ARGV[4], 'error', '')
for i = 6, #ARGV, 2 do
  local id = redis.call('INCR', G .. 'next')
  redis.call('HSET', G .. 'r:' .. id, 'bucket', b, 'after', ARGV[i], 'end', ARGV[i + 1], 'cursor', '')
  redis.call('HINCRBY', G .. 'b:' .. b, 'open', 1)
  redis.call('RPUSH', G .. 'rq', id)
end
closeone(b, 0)
return told(ARGV[2])
