package notify

import (
	"errors"
	"time"
)

// ErrRefused is what a Sender's error is, see [errors.Is], if it is about the one message
// and says nothing about others: only the key of that message waits. After any other
// error the whole target does.
var ErrRefused = errors.New("refused")

// LaterError is an error of a Sender that was told when to come again.
type LaterError struct {
	Err   error
	After time.Duration
}

func (e *LaterError) Error() string { return e.Err.Error() }

func (e *LaterError) Unwrap() error { return e.Err }
