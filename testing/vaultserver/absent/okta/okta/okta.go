// Package okta stands in for Okta's client, the largest single package under
// vault: logins to a test server have no second factor.
package okta

import (
	"context"
	"errors"
	"net/http"
)

var errAbsent = errors.New("the test server cannot reach Okta")

// Configuration is that of a client.
type Configuration struct{ Context context.Context }

// ConfigSetter changes a configuration.
type ConfigSetter func(*Configuration)

// NewConfiguration fails, so nothing below is ever called.
func NewConfiguration(...ConfigSetter) (*Configuration, error) { return nil, errAbsent }

// WithToken does nothing.
func WithToken(string) ConfigSetter { return nil }

// WithOrgUrl does nothing.
func WithOrgUrl(string) ConfigSetter { return nil }

// WithCache does nothing.
func WithCache(bool) ConfigSetter { return nil }

// APIClient is a client.
type APIClient struct {
	UserAPI       userAPI
	UserFactorAPI userFactorAPI
}

// NewAPIClient makes no client.
func NewAPIClient(*Configuration) *APIClient { return nil }

// GetConfig answers none.
func (*APIClient) GetConfig() *Configuration { return nil }

// call is a request for a T.
type call[T any] struct{}

func (c call[T]) Filter(string) call[T] { return c }

func (call[T]) Execute() (result T, response *http.Response, err error) {
	return result, nil, errAbsent
}

type userAPI struct{}

func (userAPI) ListUsers(context.Context) (c call[[]User]) { return c }

type userFactorAPI struct{}

func (userFactorAPI) ListFactors(context.Context, string) (c call[[]Factor]) { return c }

func (userFactorAPI) VerifyFactor(context.Context, string, string) (c call[*Verification]) { return c }

func (userFactorAPI) GetFactorTransactionStatus(context.Context, string, string, string) (c call[*Transaction]) {
	return c
}

// User is one.
type User struct{}

// GetId is empty.
func (User) GetId() string { return "" }

// Factor is a second factor.
type Factor struct{ UserFactorPush *UserFactorPush }

// UserFactorPush is one on a phone.
type UserFactorPush struct{}

// GetId is empty.
func (*UserFactorPush) GetId() string { return "" }

// Verification is under way.
type Verification struct{ Links map[string]any }

// GetFactorResult is empty.
func (*Verification) GetFactorResult() string { return "" }

// Transaction is what became of it.
type Transaction struct {
	UserFactorPushTransactionWaiting, UserFactorPushTransaction,
	UserFactorPushTransactionRejected, UserFactorPushTransactionTimeout *struct{}
}
