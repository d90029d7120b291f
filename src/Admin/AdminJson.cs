using System.Text.Json.Serialization;
using ObjectStore.Admin.Drives;
using ObjectStore.Admin.Durability;
using ObjectStore.Admin.Volumes;

namespace ObjectStore.Admin;

[JsonSerializable(typeof(DurabilityJson))]
[JsonSerializable(typeof(DriveJson))]
[JsonSerializable(typeof(RecoveryJson))]
[JsonSourceGenerationOptions(PropertyNamingPolicy = JsonKnownNamingPolicy.CamelCase, WriteIndented = true)]
internal sealed partial class AdminJson : JsonSerializerContext;

/// <summary>One object a line, for what is printed as it is read.</summary>
[JsonSerializable(typeof(VolumeHeaderJson))]
[JsonSerializable(typeof(RecordJson))]
[JsonSerializable(typeof(VolumeSummaryJson))]
[JsonSourceGenerationOptions(PropertyNamingPolicy = JsonKnownNamingPolicy.CamelCase, DefaultIgnoreCondition = JsonIgnoreCondition.WhenWritingNull)]
internal sealed partial class LineJson : JsonSerializerContext;
