package wire

import (
	"github.com/keyrotor/keyrotor/core/provider"
	providerv1 "github.com/keyrotor/keyrotor/core/provider/wire/keyrotor/provider/v1"
)

// The functions in this file answer the zero value for what they do not know;
// the caller decides whether that is an error.

func toCapability(c provider.Capability) providerv1.Capability {
	switch c {
	case provider.CanGenerateDataKey:
		return providerv1.Capability_CAPABILITY_GENERATE_DATA_KEY
	case provider.CanNativeRewrap:
		return providerv1.Capability_CAPABILITY_NATIVE_REWRAP
	case provider.CanRotateKey:
		return providerv1.Capability_CAPABILITY_ROTATE_KEY
	case provider.CanMirror:
		return providerv1.Capability_CAPABILITY_MIRROR
	case provider.CanCreateKey:
		return providerv1.Capability_CAPABILITY_CREATE_KEY
	case provider.CanSetVersionState:
		return providerv1.Capability_CAPABILITY_SET_VERSION_STATE
	case provider.CanBatch:
		return providerv1.Capability_CAPABILITY_BATCH
	default:
		return providerv1.Capability_CAPABILITY_UNSPECIFIED
	}
}

func fromCapability(c providerv1.Capability) provider.Capability {
	switch c {
	case providerv1.Capability_CAPABILITY_GENERATE_DATA_KEY:
		return provider.CanGenerateDataKey
	case providerv1.Capability_CAPABILITY_NATIVE_REWRAP:
		return provider.CanNativeRewrap
	case providerv1.Capability_CAPABILITY_ROTATE_KEY:
		return provider.CanRotateKey
	case providerv1.Capability_CAPABILITY_MIRROR:
		return provider.CanMirror
	case providerv1.Capability_CAPABILITY_CREATE_KEY:
		return provider.CanCreateKey
	case providerv1.Capability_CAPABILITY_SET_VERSION_STATE:
		return provider.CanSetVersionState
	case providerv1.Capability_CAPABILITY_BATCH:
		return provider.CanBatch
	default:
		return ""
	}
}

func toAttributeType(t provider.AttributeType) providerv1.AttributeType {
	switch t {
	case provider.String:
		return providerv1.AttributeType_ATTRIBUTE_TYPE_STRING
	case provider.Int:
		return providerv1.AttributeType_ATTRIBUTE_TYPE_INT
	case provider.Bool:
		return providerv1.AttributeType_ATTRIBUTE_TYPE_BOOL
	case provider.StringList:
		return providerv1.AttributeType_ATTRIBUTE_TYPE_STRING_LIST
	case provider.StringMap:
		return providerv1.AttributeType_ATTRIBUTE_TYPE_STRING_MAP
	case provider.Path:
		return providerv1.AttributeType_ATTRIBUTE_TYPE_PATH
	case provider.Duration:
		return providerv1.AttributeType_ATTRIBUTE_TYPE_DURATION
	default:
		return providerv1.AttributeType_ATTRIBUTE_TYPE_UNSPECIFIED
	}
}

func fromAttributeType(t providerv1.AttributeType) provider.AttributeType {
	switch t {
	case providerv1.AttributeType_ATTRIBUTE_TYPE_STRING:
		return provider.String
	case providerv1.AttributeType_ATTRIBUTE_TYPE_INT:
		return provider.Int
	case providerv1.AttributeType_ATTRIBUTE_TYPE_BOOL:
		return provider.Bool
	case providerv1.AttributeType_ATTRIBUTE_TYPE_STRING_LIST:
		return provider.StringList
	case providerv1.AttributeType_ATTRIBUTE_TYPE_STRING_MAP:
		return provider.StringMap
	case providerv1.AttributeType_ATTRIBUTE_TYPE_PATH:
		return provider.Path
	case providerv1.AttributeType_ATTRIBUTE_TYPE_DURATION:
		return provider.Duration
	default:
		return ""
	}
}

func toKeyState(s provider.KeyState) providerv1.KeyState {
	switch s {
	case provider.KeyEnabled:
		return providerv1.KeyState_KEY_STATE_ENABLED
	case provider.KeyDisabled:
		return providerv1.KeyState_KEY_STATE_DISABLED
	case provider.KeyPendingDestruction:
		return providerv1.KeyState_KEY_STATE_PENDING_DESTRUCTION
	case provider.KeyDestroyed:
		return providerv1.KeyState_KEY_STATE_DESTROYED
	default:
		return providerv1.KeyState_KEY_STATE_UNSPECIFIED
	}
}

func fromKeyState(s providerv1.KeyState) provider.KeyState {
	switch s {
	case providerv1.KeyState_KEY_STATE_ENABLED:
		return provider.KeyEnabled
	case providerv1.KeyState_KEY_STATE_DISABLED:
		return provider.KeyDisabled
	case providerv1.KeyState_KEY_STATE_PENDING_DESTRUCTION:
		return provider.KeyPendingDestruction
	case providerv1.KeyState_KEY_STATE_DESTROYED:
		return provider.KeyDestroyed
	default:
		return ""
	}
}
