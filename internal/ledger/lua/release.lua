-- Release ends a claim without a copy, or ("hold") only says that it may come to that.
-- ARGV: now, session, token, bucket, key, mode ("hold", "unclaim", "retry", "giveup"), delay ms, cause.
-- Returns a sequence.
local r = load(ARGV[4], ARGV[5])
if r.c ~= ARGV[2] or r.ct ~= ARGV[3] then return told(ARGV[2]) end
local mode = ARGV[6]
if r.s == r.t then redo(r) end
if mode == 'hold' then
  save(r)
  return told(ARGV[2])
end
unclaim(r)
r.l = ''
local attempts = r.a
if mode ~= 'unclaim' then attempts = attempts + 1 end
r.a = attempts
save(r)
if mode == 'giveup' and r.s ~= r.t then
  redis.call('ZREM', P .. 'q', r.id)
  redis.call('HSET', P .. 'fail', r.id, ARGV[8])
else
  enqueue(r, NOW + tonumber(ARGV[7]))
end
return told(ARGV[2])
