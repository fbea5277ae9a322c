-- Upload says on which store a multipart upload lives.
-- ARGV: now, field. Returns the store.
return redis.call('HGET', P .. 'u', ARGV[2]) or route[6]
