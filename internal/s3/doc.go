// Package s3 knows one S3 store: its endpoint and credentials, how requests to
// it are parsed, verified, signed and rewritten, its errors, and what it can
// do. It serves both sides: the proxy, which authenticates clients and forwards
// their raw requests, and the worker, which uses [Client].
//
// Server side, in order:
//
//	in, err := s3.ParseRequest(r, domains)
//	id, err := verifier.Verify(r)                     // ErrAnonymous: no credentials
//	body, length, trailer, err := s3.DecodeBody(r, id)
//	rewriter.Rewrite(in, out)                         // out: a clone of r
//	signer.Sign(out, s3.UnsignedPayload, time.Now())
//
// Keys are bytes: `a//b`, `..`, a leading slash, `%2F`, `+`, spaces and control
// characters arrive at the store as the client sent them.
package s3
