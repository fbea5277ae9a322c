-- ClaimEvents takes due dirty objects, at most one copier each.
-- ARGV: now, session, max, call. Returns a list of {bucket, key, from, version, token, attempts, dirty since, refusals},
-- {"FENCED"}, or {"AGAIN"} when the network repeated the call.
local session = ARGV[2]
if redis.call('EXISTS', P .. 'dead:' .. session) == 1 then return {'FENCED'} end
if again(session, ARGV[4]) then return {'AGAIN'} end
local out = {'OK'}
if LOSS == 'suspect' or LOSS == 'replay' then return out end
local due = redis.call('ZRANGEBYSCORE', P .. 'q', '-inf', NOW, 'LIMIT', 0, ARGV[3])
for _, id in ipairs(due) do
  redis.call('ZREM', P .. 'q', id)
  local bucket, key = string.match(id, '^(%Z+)%z(.*)$')
  local r = load(bucket, key)
  if not trusted(r) then
    -- To copy it the wrong way would be worse than to wait until somebody knows.
    redis.call('ZADD', P .. 'q', NOW + 5000, id)
  elseif wanted(r) and r.c == '' and r['i' .. OTHER[r.n]] > 0 then
    -- A client is writing the follower: a copy would be refused its lock. The commit queues it.
    redis.call('ZADD', P .. 'q', NOW + 100, id)
  elseif wanted(r) and r.c == '' then
    r.c, r.ct = session, tostring(next_seq())
    redis.call('SADD', P .. 'cl:' .. session, r.id)
    save(r)
    out[#out + 1] = {bucket, key, r.n, tostring(r[r.n]), r.ct, tostring(r.a), tostring(r.d), tostring(r.f)}
  elseif r.found and r.c == '' then
    save(r) -- nobody keeps the follower in sync any more: the record may go
  end
end
if #out > 1 then
  once(session, ARGV[4])
  witness(session)
end
return out
