// Package notify tells others what happened to keys.
package notify
