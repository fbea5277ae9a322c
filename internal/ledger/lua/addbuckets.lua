-- AddBuckets queues buckets that are not known yet, or ("Copied") only makes them known.
-- ARGV: now, state ("Pending", "Copied"), buckets ... Returns how many were new.
local n = 0
for i = 3, #ARGV do
  if redis.call('SADD', G .. 'buckets', ARGV[i]) == 1 then
    redis.call('HSET', G .. 'b:' .. ARGV[i], 'state', ARGV[2], 'open', 0)
    if ARGV[2] == 'Pending' then redis.call('RPUSH', G .. 'bq', ARGV[i]) end
    n = n + 1
  end
end
return n
