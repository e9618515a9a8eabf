package awskms

import (
	"context"
	"crypto/fips140"
	"fmt"
	"strings"

	"github.com/aws/smithy-go/middleware"
)

// shortestSecret is what FIPS 140 asks of an HMAC's key, 112 bits, less the "AWS4" that a
// signature puts before the secret.
const shortestSecret = 112/8 - len("AWS4")

// refuseShortSecrets goes around each request of the SDK, those of its own for credentials
// included. In FIPS 140 mode Go's HMAC panics over a secret that was cut off on its way
// here, on a goroutine where that ends the process; and the SDK shows its credentials to
// nobody before it signs.
func (s *settings) refuseShortSecrets(stack *middleware.Stack) error {
	if !fips140.Enforced() {
		return nil
	}
	return stack.Finalize.Add(middleware.FinalizeMiddlewareFunc("RefuseShortSecrets", func( //nolint:wrapcheck // the SDK's own
		ctx context.Context, in middleware.FinalizeInput, next middleware.FinalizeHandler,
	) (out middleware.FinalizeOutput, meta middleware.Metadata, err error) {
		defer func() {
			switch p := recover(); {
			case p == nil:
			case strings.HasPrefix(fmt.Sprint(p), "crypto/hmac: "):
				err = configError(s.secretAttribute(), "the secret access key is not whole: it has fewer than %d characters, with which "+
					"nothing is signed in FIPS 140 mode, and those of AWS have 40", shortestSecret)
			default:
				panic(p)
			}
		}()
		return next.HandleFinalize(ctx, in)
	}), middleware.Before)
}

// secretAttribute is where the credentials come from that are signed with first.
func (s *settings) secretAttribute() string {
	switch {
	case s.accessKeyID != "":
		return attrSecretAccessKey
	case s.profile != "":
		return attrProfile
	default:
		return attrCredentialsFile
	}
}
