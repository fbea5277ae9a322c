-- RetryBuckets queues the failed buckets again. ARGV: now. Returns how many.
local n = 0
for _, b in ipairs(redis.call('SMEMBERS', G .. 'buckets')) do
  if redis.call('HGET', G .. 'b:' .. b, 'state') == 'Failed' then
    redis.call('HSET', G .. 'b:' .. b, 'state', 'Pending', 'error', '')
    redis.call('RPUSH', G .. 'bq', b)
    n = n + 1
  end
end
return n
