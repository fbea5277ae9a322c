package proxy

import (
	"crypto/subtle"
	"errors"

	"github.com/crossfade-io/crossfade/internal/s3"
)

// keysOf lets in the clients that sign with an endpoint's own keys.
func keysOf(e s3.Endpoint) func(string) (secret, token string, ok bool) {
	credentials := e.CredentialsFunc()
	return func(id string) (string, string, bool) {
		c := credentials()
		if subtle.ConstantTimeCompare([]byte(id), []byte(c.AccessKeyID)) != 1 {
			return "", "", false
		}
		return c.SecretAccessKey, c.SessionToken, true
	}
}

func asError(err error, target **s3.Error) bool { return errors.As(err, target) }
