-- ReportBucket: what of a bucket's configuration the follower lacks. ARGV: now, bucket, unsupported (JSON).
-- A bucket that is not known is left alone. Returns 1 or 0.
local b = G .. 'b:' .. ARGV[2]
if redis.call('EXISTS', b) == 0 then return 0 end
redis.call('HSET', b, 'unsupported', ARGV[3])
return 1
