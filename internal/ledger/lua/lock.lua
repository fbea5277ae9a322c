-- Lock keeps clients' writes off the follower while a copy commits there.
-- ARGV: now, session, token, bucket, key, from, ttl ms, ETag
-- of what the copy puts there ("": nothing), fenced ("1": the store refuses it if a client was first). Returns a sequence, or 0 when the claim is lost or a client was first.
local r = load(ARGV[4], ARGV[5])
if r.c ~= ARGV[2] or r.ct ~= ARGV[3] then return 0 end
local from = ARGV[6]
local to = OTHER[from]
if not trusted(r) or r.n ~= from or r['i' .. to] > 0 or redis.call('EXISTS', P .. 'dead:' .. ARGV[2]) == 1 then return 0 end
r.l = to .. ':' .. (NOW + tonumber(ARGV[7])) .. (ARGV[9] == '1' and '' or 'u')
save(r)
if ARGV[8] ~= '' then put(r, to, ARGV[8]) end
local seq = next_seq()
witness(ARGV[2])
return seq
