using System.Collections.Frozen;

namespace ObjectStore.Metadata.Records;

/// <summary>
/// The codes that stand for S3's names of storage classes and checksum algorithms in rows and records. A code is never
/// given another meaning; new names go at the end. Names that come out are interned.
/// </summary>
internal static class RecordNames
{
    private static readonly string[] StorageClasses =
    [
        "STANDARD", "REDUCED_REDUNDANCY", "STANDARD_IA", "ONEZONE_IA", "INTELLIGENT_TIERING", "GLACIER", "DEEP_ARCHIVE", "GLACIER_IR",
        "OUTPOSTS", "SNOW", "EXPRESS_ONEZONE", "FSX_OPENZFS", "FSX_ONTAP",
    ];

    // Code 0 is "no checksum".
    private static readonly string?[] Algorithms = [null, "CRC32", "CRC32C", "CRC64NVME", "SHA1", "SHA256"];

    private static readonly FrozenDictionary<string, byte> StorageClassCodes = CodesOf(StorageClasses);
    private static readonly FrozenDictionary<string, byte> AlgorithmCodes = CodesOf(Algorithms);

    private const byte Composite = 0x80;

    internal static byte StorageClassCode(string name) => StorageClassCodes.TryGetValue(name, out byte code)
        ? code
        : throw new ArgumentException($"The metadata store has no code for the storage class '{name}'.", nameof(name));

    internal static string StorageClassName(long code) => code >= 0 && code < StorageClasses.Length
        ? StorageClasses[code]
        : throw new MetadataRecordException($"Storage class code {code} is unknown to this binary.");

    internal static byte ChecksumCode(string? algorithm, bool isComposite)
    {
        if (algorithm is null)
        {
            return 0;
        }

        return AlgorithmCodes.TryGetValue(algorithm, out byte code)
            ? (byte)(code | (isComposite ? Composite : 0))
            : throw new ArgumentException($"The metadata store has no code for the checksum algorithm '{algorithm}'.", nameof(algorithm));
    }

    internal static (string? Algorithm, bool IsComposite) ChecksumName(long code)
    {
        long algorithm = code & ~Composite;
        return code is >= 0 and <= 255 && algorithm < Algorithms.Length && code != Composite
            ? (Algorithms[algorithm], (code & Composite) != 0)
            : throw new MetadataRecordException($"Checksum code {code} is unknown to this binary.");
    }

    private static FrozenDictionary<string, byte> CodesOf(string?[] names) =>
        names.Select((name, code) => (name, code)).Where(pair => pair.name is not null).ToFrozenDictionary(pair => pair.name!, pair => (byte)pair.code);
}
