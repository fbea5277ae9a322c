-- FinishBatch ends a copy batch.
-- ARGV: now, session, batch, bucket, copied, copied bytes, skipped, skipped bytes. Returns a number, or 0 when it is not ours.
if redis.call('HDEL', G .. 'w:' .. ARGV[2], 'c:' .. ARGV[3]) == 0 then return 0 end
redis.call('DEL', G .. 'c:' .. ARGV[3])
local bk = G .. 'b:' .. ARGV[4]
redis.call('HINCRBY', bk, 'copied', ARGV[5])
redis.call('HINCRBY', bk, 'copiedbytes', ARGV[6])
redis.call('HINCRBY', bk, 'skipped', ARGV[7])
redis.call('HINCRBY', bk, 'skippedbytes', ARGV[8])
closeone(ARGV[4], -1)
return told(ARGV[2])
