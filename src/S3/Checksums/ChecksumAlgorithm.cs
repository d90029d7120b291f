namespace ObjectStore.S3.Checksums;

/// <summary>The checksums of the S3 API.</summary>
public enum ChecksumAlgorithm
{
    /// <summary>CRC-32.</summary>
    Crc32,

    /// <summary>CRC-32C.</summary>
    Crc32C,

    /// <summary>CRC-64/NVME, which covers whole objects only.</summary>
    Crc64Nvme,

    /// <summary>SHA-1, which is composite for multipart objects.</summary>
    Sha1,

    /// <summary>SHA-256, which is composite for multipart objects.</summary>
    Sha256,
}

/// <summary>What the checksum of a multipart object covers.</summary>
public enum ChecksumType
{
    /// <summary>The bytes of the object.</summary>
    FullObject,

    /// <summary>The checksums of the parts; written with "-N" for N parts.</summary>
    Composite,
}

/// <summary>The names and sizes of <see cref="ChecksumAlgorithm"/>.</summary>
public static class ChecksumAlgorithms
{
    /// <summary>Every algorithm.</summary>
    public static IReadOnlyList<ChecksumAlgorithm> All { get; } = Enum.GetValues<ChecksumAlgorithm>();

    /// <summary>The size of the value in bytes.</summary>
    public static int Length(this ChecksumAlgorithm algorithm) => algorithm switch
    {
        ChecksumAlgorithm.Crc32 or ChecksumAlgorithm.Crc32C => 4,
        ChecksumAlgorithm.Crc64Nvme => 8,
        ChecksumAlgorithm.Sha1 => 20,
        _ => 32,
    };

    /// <summary>The header or trailer that carries the value, lower case.</summary>
    public static string HeaderName(this ChecksumAlgorithm algorithm) => algorithm switch
    {
        ChecksumAlgorithm.Crc32 => "x-amz-checksum-crc32",
        ChecksumAlgorithm.Crc32C => "x-amz-checksum-crc32c",
        ChecksumAlgorithm.Crc64Nvme => "x-amz-checksum-crc64nvme",
        ChecksumAlgorithm.Sha1 => "x-amz-checksum-sha1",
        _ => "x-amz-checksum-sha256",
    };

    /// <summary>The name in x-amz-checksum-algorithm and in XML, in ASCII.</summary>
    public static ReadOnlySpan<byte> WireName(this ChecksumAlgorithm algorithm) => algorithm switch
    {
        ChecksumAlgorithm.Crc32 => "CRC32"u8,
        ChecksumAlgorithm.Crc32C => "CRC32C"u8,
        ChecksumAlgorithm.Crc64Nvme => "CRC64NVME"u8,
        ChecksumAlgorithm.Sha1 => "SHA1"u8,
        _ => "SHA256"u8,
    };

    /// <summary>The name in x-amz-checksum-algorithm as a string.</summary>
    public static string Name(this ChecksumAlgorithm algorithm) => algorithm switch
    {
        ChecksumAlgorithm.Crc32 => "CRC32",
        ChecksumAlgorithm.Crc32C => "CRC32C",
        ChecksumAlgorithm.Crc64Nvme => "CRC64NVME",
        ChecksumAlgorithm.Sha1 => "SHA1",
        _ => "SHA256",
    };

    /// <summary>The XML element that carries the value.</summary>
    public static ReadOnlySpan<byte> XmlElementName(this ChecksumAlgorithm algorithm) => algorithm switch
    {
        ChecksumAlgorithm.Crc32 => "ChecksumCRC32"u8,
        ChecksumAlgorithm.Crc32C => "ChecksumCRC32C"u8,
        ChecksumAlgorithm.Crc64Nvme => "ChecksumCRC64NVME"u8,
        ChecksumAlgorithm.Sha1 => "ChecksumSHA1"u8,
        _ => "ChecksumSHA256"u8,
    };

    /// <summary>The type S3 gives a multipart upload that names an algorithm and no type.</summary>
    public static ChecksumType DefaultMultipartType(this ChecksumAlgorithm algorithm) =>
        algorithm == ChecksumAlgorithm.Crc64Nvme ? ChecksumType.FullObject : ChecksumType.Composite;

    /// <summary>True when a multipart upload may combine the two: the CRC-64 covers whole objects only, the SHAs parts only.</summary>
    public static bool SupportsMultipart(this ChecksumAlgorithm algorithm, ChecksumType type) => algorithm switch
    {
        ChecksumAlgorithm.Crc64Nvme => type == ChecksumType.FullObject,
        ChecksumAlgorithm.Sha1 or ChecksumAlgorithm.Sha256 => type == ChecksumType.Composite,
        _ => true,
    };

    /// <summary>Finds an algorithm by its name in x-amz-checksum-algorithm, without regard to case.</summary>
    public static bool TryFromName(string name, out ChecksumAlgorithm algorithm) => TryFind(name, static (candidate, name) => candidate.Name().Equals(name, StringComparison.OrdinalIgnoreCase), out algorithm);

    /// <summary>Finds an algorithm by its header, without regard to case.</summary>
    public static bool TryFromHeader(string header, out ChecksumAlgorithm algorithm) =>
        TryFind(header, static (candidate, header) => candidate.HeaderName().Equals(header, StringComparison.OrdinalIgnoreCase), out algorithm);

    /// <summary>Finds an algorithm by its XML element.</summary>
    public static bool TryFromXmlElement(string element, out ChecksumAlgorithm algorithm) => TryFind(
        element, static (candidate, element) => element.Length == 8 + candidate.Name().Length &&
            element.StartsWith("Checksum", StringComparison.Ordinal) && element.EndsWith(candidate.Name(), StringComparison.Ordinal), out algorithm);

    private static bool TryFind(string text, Func<ChecksumAlgorithm, string, bool> matches, out ChecksumAlgorithm found)
    {
        foreach (ChecksumAlgorithm candidate in All)
        {
            if (!matches(candidate, text)) continue;
            found = candidate;
            return true;
        }

        found = default;
        return false;
    }
}
