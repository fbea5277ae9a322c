-- ClaimObjects claims the keys of an initial batch; what the event path owns is left to it.
-- ARGV: now, session, bucket, call, keys ... Returns {"OK", sequence ("": nothing has changed), {key, from, version, token} ...}, {"FENCED"},
-- {"AGAIN"} when the network repeated the call, or {"WAIT"} while it is being found out what was lost.
local session, bucket = ARGV[2], ARGV[3]
if redis.call('EXISTS', P .. 'dead:' .. session) == 1 then return {'FENCED'} end
if again(session, ARGV[4]) then return {'AGAIN'} end
local out, touched = {'OK', ''}, false
if LOSS == 'suspect' or LOSS == 'replay' then return {'WAIT'} end
local token = tostring(next_seq())
for i = 5, #ARGV do
  local r = load(bucket, ARGV[i])
  if not trusted(r) then
    -- Nobody knows which way; an audit is due.
  elseif r.c ~= '' or r.s ~= r.t then
    -- The claim's holder, or the event, copies it.
  elseif r.is + r.it > 0 then
    -- A write is under way. If it is aborted no event follows, so this one must.
    touch(r)
    save(r)
    enqueue(r, NOW)
    touched = true
  else
    r.c, r.ct = session, token
    redis.call('SADD', P .. 'cl:' .. session, r.id)
    save(r)
    out[#out + 1] = {ARGV[i], r.n, tostring(r[r.n]), token}
  end
end
if #out > 2 then once(session, ARGV[4]) end
if #out > 2 or touched then out[2] = tostring(told(session)) end
return out
