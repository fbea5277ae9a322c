-- Release ends a claim without a copy, or ("hold") only says that it may come to that.
-- ARGV: now, session, token, bucket, key, mode ("hold", "unclaim", "retry", "refused": a retry that counts
-- towards giving up, "giveup"), delay ms, cause ("": not told to anybody).
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
if mode ~= 'unclaim' then r.a = r.a + 1 end
if mode == 'refused' or mode == 'giveup' then r.f = r.f + 1 end
save(r)
if ARGV[8] ~= '' and r.s ~= r.t then redis.call('HSET', P .. 'fail', r.id, ARGV[8]) end
if mode == 'giveup' and r.s ~= r.t then
  redis.call('ZREM', P .. 'q', r.id)
else
  enqueue(r, NOW + tonumber(ARGV[7]))
end
return told(ARGV[2])
