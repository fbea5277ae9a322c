-- FailBucket gives a bucket back after a failed try. ARGV: now, session, bucket, error. Returns a number, or 0.
if redis.call('HEXISTS', G .. 'w:' .. ARGV[2], 'b:' .. ARGV[3]) == 0 then return 0 end
redis.call('HSET', G .. 'b:' .. ARGV[3], 'state', 'Pending', 'error', ARGV[4])
redis.call('HDEL', G .. 'w:' .. ARGV[2], 'b:' .. ARGV[3])
redis.call('RPUSH', G .. 'bq', ARGV[3])
return told(ARGV[2])
