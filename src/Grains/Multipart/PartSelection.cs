using System.Collections.Immutable;

namespace ObjectStore.Grains;

/// <summary>
/// Checks a client's list of parts against those recorded, which come in pages in rising order, and gathers the layouts of those it names.
/// The rules are S3's: see CompleteMultipartUpload.
/// </summary>
internal sealed class PartSelection(ImmutableArray<CompletedPart> listed)
{
    /// <summary>S3's minimum of every part but the last.</summary>
    public const long MinPartBytes = 5L << 20;

    /// <summary>S3's maximum of an object.</summary>
    public const long MaxObjectBytes = 5L << 40;

    private readonly ImmutableArray<PartLayout>.Builder _layouts = ImmutableArray.CreateBuilder<PartLayout>(listed.Length);

    /// <summary>Whether every listed part has been found, so that further pages are not needed.</summary>
    public bool IsComplete => _layouts.Count == listed.Length;

    /// <summary>What is wrong with the list by itself, or null.</summary>
    public static CompleteResult? CheckOrder(ImmutableArray<CompletedPart> listed)
    {
        if (listed.IsDefaultOrEmpty)
            return Refused(CompleteStatus.InvalidPart);
        for (int i = 1; i < listed.Length; i++)
        {
            if (listed[i].PartNumber <= listed[i - 1].PartNumber)
                return Refused(CompleteStatus.InvalidPartOrder);
        }

        return null;
    }

    /// <summary>Matches a page of recorded parts. What is wrong, or null.</summary>
    public CompleteResult? Match(ImmutableArray<UploadPart> page)
    {
        foreach (UploadPart recorded in page)
        {
            if (IsComplete)
                return null;
            CompletedPart wanted = listed[_layouts.Count];
            PartLayout layout = recorded.Layout;
            if (layout.PartNumber < wanted.PartNumber)
                continue;
            if (layout.PartNumber > wanted.PartNumber || !IsSame(wanted, layout))
                return Refused(CompleteStatus.InvalidPart, wanted.PartNumber);
            _layouts.Add(layout);
        }

        return null;
    }

    /// <summary>Makes the version of the parts, or says why not.</summary>
    public (ObjectVersion? Version, CompleteResult? Refusal) Assemble(UploadInfo upload, CompleteCommand command, long nowUnixMs)
    {
        if (!IsComplete)
            return (null, Refused(CompleteStatus.InvalidPart, listed[_layouts.Count].PartNumber));
        long sizeBytes = 0;
        for (int i = 0; i < _layouts.Count; i++)
        {
            if (_layouts[i].LengthBytes < MinPartBytes && i < _layouts.Count - 1)
                return (null, Refused(CompleteStatus.EntityTooSmall, _layouts[i].PartNumber));
            sizeBytes += _layouts[i].LengthBytes;
        }

        if (sizeBytes > MaxObjectBytes)
            return (null, Refused(CompleteStatus.EntityTooLarge));
        if (command.ExpectedSizeBytes is { } expectedBytes && expectedBytes != sizeBytes)
            return (null, Refused(CompleteStatus.BadDigest));

        ObjectChecksum? checksum = upload.ChecksumAlgorithm is { } algorithm ? MultipartChecksums.ChecksumOf(algorithm, upload.ChecksumIsComposite, _layouts) : null;
        if (command.ExpectedChecksum is { } expected && !IsSameWhole(expected, checksum))
            return (null, Refused(CompleteStatus.BadDigest));

        ObjectVersion version = new()
        {
            VersionId = upload.UploadId,
            SizeBytes = sizeBytes,
            ETag = MultipartChecksums.ETagOf(_layouts),
            LastModifiedUnixMs = nowUnixMs,
            StorageClass = upload.StorageClass,
            Headers = upload.Headers,
            Parts = _layouts.ToImmutable(),
            Checksum = checksum,
        };
        return (version, null);
    }

    private static CompleteResult Refused(CompleteStatus status, int part = 0) => new(status, null, part);

    private static bool IsSame(CompletedPart wanted, PartLayout recorded) =>
        wanted.ETag.Trim('"').Equals(recorded.ETag.ToString(), StringComparison.OrdinalIgnoreCase)
        && (wanted.Checksum is null || wanted.Checksum == recorded.Checksum?.Value);

    // SDKs send a composite checksum with or without its -N.
    private static bool IsSameWhole(string expected, ObjectChecksum? actual) =>
        actual is not null && (expected == actual.Value || (actual.IsComposite && actual.Value.StartsWith(expected + "-", StringComparison.Ordinal)));
}
