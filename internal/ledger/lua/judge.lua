-- Judge ends the claim under which an audit has compared an object on both stores, copying nothing.
-- ARGV: now, session, token, bucket, key, from, version, repair ("1": copy it, as after a write).
-- Returns {answer, sequence}: "OK"; "BUSY" when a client wrote it, or began to, since it was claimed: what was compared
-- means nothing then; or "LOST".
local r = load(ARGV[4], ARGV[5])
if r.c ~= ARGV[2] or r.ct ~= ARGV[3] then return {'LOST', told(ARGV[2])} end
local quiet = r.n == ARGV[6] and r[r.n] == tonumber(ARGV[7]) and r.s == r.t and r.is + r.it == 0
unclaim(r)
r.l = ''
if quiet and ARGV[8] == '1' then touch(r) end
save(r)
enqueue(r, NOW)
return {quiet and 'OK' or 'BUSY', told(ARGV[2])}
