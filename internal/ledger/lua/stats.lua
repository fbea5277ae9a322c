-- Stats of a shard.
-- ARGV: now. Returns {epoch, dirty, oldest ms, queued, newest on source, newest on target,
-- intents on source, intents on target, doubts, failed, uploads, now}.
local c = redis.call('HMGET', P .. 'cnt', 's', 't', 'is', 'it')
local oldest = redis.call('ZRANGE', P .. 'age', 0, 0, 'WITHSCORES')
return {EPOCH or '', tostring(redis.call('ZCARD', P .. 'age')), oldest[2] or '0', tostring(redis.call('ZCARD', P .. 'q')),
  c[1] or '0', c[2] or '0', c[3] or '0', c[4] or '0', tostring(redis.call('ZCARD', P .. 'doubt')),
  tostring(redis.call('HLEN', P .. 'fail')), tostring(redis.call('HLEN', P .. 'u')), tostring(NOW)}
