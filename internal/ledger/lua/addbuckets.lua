-- AddBuckets queues buckets that are not known yet. ARGV: now, buckets ... Returns how many were new.
local n = 0
for i = 2, #ARGV do
  if redis.call('SADD', G .. 'buckets', ARGV[i]) == 1 then
    redis.call('HSET', G .. 'b:' .. ARGV[i], 'state', 'Pending', 'open', 0)
    redis.call('RPUSH', G .. 'bq', ARGV[i])
    n = n + 1
  end
end
return n
