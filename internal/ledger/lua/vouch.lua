-- Vouch says that what a session was told here last is still known, or (see the
-- prelude) finds that it is not. ARGV: now, session.
-- Returns {id of the loss that there is, its state}; "" = none.
if LOSS == '' then return {'', ''} end
redis.call('HSET', P .. 'vouched', ARGV[2], loss[3])
return {loss[3], LOSS}
