-- Bury fences a session on this shard and, when told to, settles what it left.
-- ARGV: now, session, settle ("1"/""), max. Returns how many intents and claims are left.
local session, max = ARGV[2], tonumber(ARGV[4])
redis.call('SET', P .. 'dead:' .. session, '1', 'EX', 2592000)
if ARGV[3] == '1' then
  local done = 0
  for _, id in ipairs(redis.call('HKEYS', P .. 'i:' .. session)) do
    if done >= max then break end
    settle(session, id)
    done = done + 1
  end
  for _, id in ipairs(redis.call('SRANDMEMBER', P .. 'cl:' .. session, max)) do
    redis.call('SREM', P .. 'cl:' .. session, id)
    local bucket, key = string.match(id, '^(%Z+)%z(.*)$')
    local r = load(bucket, key)
    if r.c == session then
      r.c, r.ct, r.l = '', '', ''
      redo(r)
      save(r)
      enqueue(r, NOW)
    end
  end
end
local left = redis.call('HLEN', P .. 'i:' .. session) + redis.call('SCARD', P .. 'cl:' .. session)
if ARGV[3] == '1' and left == 0 then
  redis.call('HDEL', P .. 'wit', session)
  redis.call('HDEL', P .. 'floor', session)
end
return left
