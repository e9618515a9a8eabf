// Package pgxv4 stands in for a driver of Google's databases.
package pgxv4

import "cloud.google.com/go/cloudsqlconn"

// RegisterDriver fails.
func RegisterDriver(string, ...cloudsqlconn.Option) (func() error, error) {
	return nil, cloudsqlconn.ErrAbsent
}
