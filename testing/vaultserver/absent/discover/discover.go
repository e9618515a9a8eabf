// Package discover stands in for the search for other servers in a cloud: a test
// server has no others.
package discover

import (
	"errors"
	"log"
)

var errAbsent = errors.New("the test server cannot discover servers")

// Provider searches one cloud.
type Provider any

// Providers are the clouds that can be searched: none.
var Providers map[string]Provider

// Discover searches.
type Discover struct{}

// Option configures a search.
type Option func(*Discover) error

// New makes a search.
func New(...Option) (*Discover, error) { return &Discover{}, nil }

// WithProviders names clouds.
func WithProviders(map[string]Provider) Option { return nil }

// Addrs fails.
func (*Discover) Addrs(string, *log.Logger) ([]string, error) { return nil, errAbsent }

// Config says where to search.
type Config map[string]string

// Parse fails.
func Parse(string) (Config, error) { return nil, errAbsent }

// String is empty.
func (Config) String() string { return "" }
