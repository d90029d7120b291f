using System.Text.Json.Serialization;
using ObjectStore.Admin.Durability;

namespace ObjectStore.Admin;

[JsonSerializable(typeof(DurabilityJson))]
[JsonSourceGenerationOptions(PropertyNamingPolicy = JsonKnownNamingPolicy.CamelCase, WriteIndented = true)]
internal sealed partial class AdminJson : JsonSerializerContext;
