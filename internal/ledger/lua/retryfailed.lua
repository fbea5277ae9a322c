-- RetryFailed queues the objects that fail or were given up.
-- ARGV: now, max. Returns how many.
local ids = redis.call('HKEYS', P .. 'fail')
local n = 0
for _, id in ipairs(ids) do
  if n >= tonumber(ARGV[2]) then break end
  local bucket, key = string.match(id, '^(%Z+)%z(.*)$')
  local r = load(bucket, key)
  redis.call('HDEL', P .. 'fail', id)
  r.a, r.f = 0, 0
  if r.found then save(r) end
  enqueue(r, NOW)
  n = n + 1
end
return n
