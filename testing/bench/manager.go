package main

import (
	"context"
	"sync/atomic"

	"github.com/keyrotor/keyrotor/core/provider"
	"github.com/keyrotor/keyrotor/providers/local"
)

// countingManager is the local provider in this process, and how often it was asked
// for anything.
type countingManager struct {
	km    provider.KeyManager
	calls atomic.Int64
}

func (l *lab) newManager(file string) *countingManager {
	km := must(local.New(l.ctx, provider.Config{Body: provider.Body{Attributes: map[string]any{"path": l.path(file)}}}))
	l.later(km.Close)
	must(km.(provider.KeyCreator).CreateKey(l.ctx, provider.CreateKeyRequest{}))
	return &countingManager{km: km}
}

// during answers how many calls there are while f runs.
func (m *countingManager) during(f func()) float64 {
	before := m.calls.Load()
	f()
	return float64(m.calls.Load() - before)
}

// asked counts a call and answers whom to pass it on to.
func (m *countingManager) asked() provider.KeyManager {
	m.calls.Add(1)
	return m.km
}

func (m *countingManager) Info() provider.Info { return local.Info("bench") }

func (m *countingManager) Check(ctx context.Context, req provider.CheckRequest) (provider.CheckResponse, error) {
	return m.asked().Check(ctx, req)
}

func (m *countingManager) DescribeKey(ctx context.Context) (provider.DescribeKeyResponse, error) {
	return m.asked().DescribeKey(ctx)
}

func (m *countingManager) GenerateDataKey(ctx context.Context, req provider.GenerateDataKeyRequest) (provider.GenerateDataKeyResponse, error) {
	return m.asked().GenerateDataKey(ctx, req)
}

func (m *countingManager) Wrap(ctx context.Context, items []provider.WrapItem) ([]provider.WrapResult, error) {
	return m.asked().Wrap(ctx, items)
}

func (m *countingManager) Unwrap(ctx context.Context, items []provider.UnwrapItem) ([]provider.UnwrapResult, error) {
	return m.asked().Unwrap(ctx, items)
}

func (m *countingManager) Rewrap(ctx context.Context, items []provider.UnwrapItem) ([]provider.WrapResult, error) {
	return m.asked().Rewrap(ctx, items)
}

func (m *countingManager) RotateKey(ctx context.Context, req provider.RotateKeyRequest) (provider.RotateKeyResponse, error) {
	return m.asked().RotateKey(ctx, req)
}

func (m *countingManager) Close() error { return nil }
