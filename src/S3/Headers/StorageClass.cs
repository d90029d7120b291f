using System.Collections.Frozen;

namespace ObjectStore.S3.Headers;

/// <summary>The storage class names of S3.</summary>
public static class StorageClass
{
    /// <summary>The class of an object whose request names none; S3 leaves it out of GET and HEAD responses.</summary>
    public const string Standard = "STANDARD";

    private static readonly FrozenSet<string> Names = new[]
    {
        Standard, "REDUCED_REDUNDANCY", "STANDARD_IA", "ONEZONE_IA", "INTELLIGENT_TIERING", "GLACIER", "DEEP_ARCHIVE", "OUTPOSTS", "GLACIER_IR", "SNOW",
        "EXPRESS_ONEZONE", "FSX_OPENZFS", "FSX_ONTAP",
    }.ToFrozenSet(StringComparer.Ordinal);

    /// <summary>True for a name of the S3 API, whether or not this server stores in that class. Case matters.</summary>
    public static bool IsKnown(string name) => Names.Contains(name);
}
