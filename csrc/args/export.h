// What one of the package's libraries defines for the others; the rest is hidden.
#pragma once

#define FK_EXPORT __attribute__((visibility("default")))
