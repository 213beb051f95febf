//go:build tools

// Package tools pins Pulumi's Python language host as an ordinary Go tool dependency.
package tools

import _ "github.com/pulumi/pulumi/sdk/v3/python/cmd/pulumi-language-python"
