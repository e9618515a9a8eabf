// Package cloudsqlconn stands in for the way to Google's databases: a test server
// keeps no database's credentials.
package cloudsqlconn

import "errors"

// ErrAbsent is what comes of it.
var ErrAbsent = errors.New("the test server cannot reach Cloud SQL")

// Option configures a connection.
type Option func()

// DialOption configures a call.
type DialOption func()

// WithIAMAuthN does nothing.
func WithIAMAuthN() Option { return nil }

// WithCredentialsJSON does nothing.
func WithCredentialsJSON([]byte) Option { return nil }

// WithDefaultDialOptions does nothing.
func WithDefaultDialOptions(...DialOption) Option { return nil }

// WithPrivateIP does nothing.
func WithPrivateIP() DialOption { return nil }

// WithPSC does nothing.
func WithPSC() DialOption { return nil }
