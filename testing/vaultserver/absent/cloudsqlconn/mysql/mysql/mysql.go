// Package mysql stands in for a driver of Google's databases.
package mysql

import "cloud.google.com/go/cloudsqlconn"

// RegisterDriver fails.
func RegisterDriver(string, ...cloudsqlconn.Option) (func() error, error) {
	return nil, cloudsqlconn.ErrAbsent
}
