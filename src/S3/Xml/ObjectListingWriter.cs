using System.Buffers;
using ObjectStore.S3.Checksums;
using ObjectStore.S3.Headers;

namespace ObjectStore.S3.Xml;

/// <summary>An owner or initiator.</summary>
/// <param name="Id">The canonical user id.</param>
/// <param name="DisplayName">The display name, or null.</param>
public sealed record S3Owner(string Id, string? DisplayName);

/// <summary>One object of a listing. The spans are borrowed for the call.</summary>
public readonly ref struct ObjectRow
{
    /// <summary>The key in UTF-8.</summary>
    public required ReadOnlySpan<byte> Key { get; init; }

    /// <summary>When the object was created, UTC.</summary>
    public required DateTime LastModified { get; init; }

    /// <summary>The entity tag.</summary>
    public required ETag ETag { get; init; }

    /// <summary>The size of the object in bytes.</summary>
    public required long Size { get; init; }

    /// <summary>The storage class name; an ASCII name that needs no escaping.</summary>
    public required ReadOnlySpan<byte> StorageClass { get; init; }

    /// <summary>The owner, or null to leave it out.</summary>
    public S3Owner? Owner { get; init; }

    /// <summary>The algorithm of the object's checksum, or null when it has none.</summary>
    public ChecksumAlgorithm? ChecksumAlgorithm { get; init; }

    /// <summary>The type of the object's checksum; written only with an algorithm.</summary>
    public ChecksumType ChecksumType { get; init; }
}

/// <summary>What a listing says about itself. Names are unencoded; the writer encodes them where the request asked for it.</summary>
public sealed record ObjectListing
{
    /// <summary>The bucket.</summary>
    public required string Bucket { get; init; }

    /// <summary>The prefix asked for; empty when none.</summary>
    public string Prefix { get; init; } = "";

    /// <summary>The delimiter asked for, or null.</summary>
    public string? Delimiter { get; init; }

    /// <summary>max-keys, or max-uploads for uploads.</summary>
    public int MaxKeys { get; init; } = 1000;

    /// <summary>True when encoding-type=url was asked for.</summary>
    public bool IsUrlEncoded { get; init; }

    /// <summary>True when more follows.</summary>
    public bool IsTruncated { get; init; }

    /// <summary>Version 1: the marker asked for. Versions and uploads: key-marker.</summary>
    public string? Marker { get; init; }

    /// <summary>Version 1: the last key or prefix of the page. Versions and uploads: NextKeyMarker.</summary>
    public string? NextMarker { get; init; }

    /// <summary>Version 2: the number of keys and common prefixes in the page.</summary>
    public int KeyCount { get; init; }

    /// <summary>Version 2: the token asked with, or null.</summary>
    public string? ContinuationToken { get; init; }

    /// <summary>Version 2: the token for the next page, or null.</summary>
    public string? NextContinuationToken { get; init; }

    /// <summary>Version 2: start-after asked for, or null.</summary>
    public string? StartAfter { get; init; }

    /// <summary>Versions: version-id-marker. Uploads: upload-id-marker.</summary>
    public string? IdMarker { get; init; }

    /// <summary>Versions: NextVersionIdMarker. Uploads: NextUploadIdMarker.</summary>
    public string? NextIdMarker { get; init; }
}

/// <summary>
/// Writes ListBucketResult (version 1 and 2) and ListVersionsResult row by row. Begin with one of the static methods, then rows, then common prefixes, then
/// <see cref="End"/>. Nothing is kept between rows, so a page of any length can stream out.
/// </summary>
public ref struct ObjectListingWriter
{
    private readonly bool _isUrlEncoded;
    private readonly bool _isVersions;
    private Utf8XmlWriter _xml;

    private ObjectListingWriter(IBufferWriter<byte> output, bool isUrlEncoded, bool isVersions)
    {
        _xml = new Utf8XmlWriter(output);
        _isUrlEncoded = isUrlEncoded;
        _isVersions = isVersions;
    }

    /// <summary>Begins the answer to ListObjects.</summary>
    public static ObjectListingWriter BeginV1(IBufferWriter<byte> output, ObjectListing listing)
    {
        ObjectListingWriter writer = new(output, listing.IsUrlEncoded, isVersions: false);
        writer.BeginCommon("ListBucketResult"u8, listing);
        writer.NameElement("Marker"u8, listing.Marker ?? "");
        if (listing.NextMarker is not null) writer.NameElement("NextMarker"u8, listing.NextMarker);
        writer.FinishHead(listing);
        return writer;
    }

    /// <summary>Begins the answer to ListObjectsV2.</summary>
    public static ObjectListingWriter BeginV2(IBufferWriter<byte> output, ObjectListing listing)
    {
        ObjectListingWriter writer = new(output, listing.IsUrlEncoded, isVersions: false);
        writer.BeginCommon("ListBucketResult"u8, listing);
        if (listing.StartAfter is not null) writer.NameElement("StartAfter"u8, listing.StartAfter);
        writer._xml.OptionalElement("ContinuationToken"u8, listing.ContinuationToken);
        writer._xml.OptionalElement("NextContinuationToken"u8, listing.NextContinuationToken);
        writer._xml.Element("KeyCount"u8, listing.KeyCount);
        writer.FinishHead(listing);
        return writer;
    }

    /// <summary>Begins the answer to ListObjectVersions.</summary>
    public static ObjectListingWriter BeginVersions(IBufferWriter<byte> output, ObjectListing listing)
    {
        ObjectListingWriter writer = new(output, listing.IsUrlEncoded, isVersions: true);
        writer.BeginCommon("ListVersionsResult"u8, listing);
        writer.NameElement("KeyMarker"u8, listing.Marker ?? "");
        writer._xml.Element("VersionIdMarker"u8, listing.IdMarker ?? "");
        if (listing.NextMarker is not null) writer.NameElement("NextKeyMarker"u8, listing.NextMarker);
        writer._xml.OptionalElement("NextVersionIdMarker"u8, listing.NextIdMarker);
        writer.FinishHead(listing);
        return writer;
    }

    /// <summary>Writes one object of a version 1 or 2 listing.</summary>
    public void Contents(in ObjectRow row)
    {
        _xml.Raw("<Contents><Key>"u8);
        RowBody(row);
        _xml.Raw("</Contents>"u8);
    }

    /// <summary>Writes one version of a version listing.</summary>
    public void Version(in ObjectRow row, ReadOnlySpan<char> versionId, bool isLatest)
    {
        _xml.Raw("<Version><VersionId>"u8);
        _xml.Text(versionId);
        _xml.Raw("</VersionId><IsLatest>"u8);
        _xml.Boolean(isLatest);
        _xml.Raw("</IsLatest><Key>"u8);
        RowBody(row);
        _xml.Raw("</Version>"u8);
    }

    /// <summary>Writes one delete marker of a version listing.</summary>
    public void DeleteMarker(ReadOnlySpan<byte> key, ReadOnlySpan<char> versionId, bool isLatest, DateTime lastModified, S3Owner? owner)
    {
        _xml.Raw("<DeleteMarker><Key>"u8);
        _xml.Name(key, _isUrlEncoded);
        _xml.Raw("</Key><VersionId>"u8);
        _xml.Text(versionId);
        _xml.Raw("</VersionId><IsLatest>"u8);
        _xml.Boolean(isLatest);
        _xml.Raw("</IsLatest><LastModified>"u8);
        _xml.Time(lastModified);
        _xml.Raw("</LastModified>"u8);
        if (owner is not null) ResponseXml.Owner(ref _xml, "Owner"u8, owner);
        _xml.Raw("</DeleteMarker>"u8);
    }

    /// <summary>Writes one common prefix.</summary>
    public void CommonPrefix(ReadOnlySpan<byte> prefix)
    {
        _xml.Raw("<CommonPrefixes><Prefix>"u8);
        _xml.Name(prefix, _isUrlEncoded);
        _xml.Raw("</Prefix></CommonPrefixes>"u8);
    }

    /// <summary>Ends the document and hands everything to the buffer writer.</summary>
    public void End()
    {
        _xml.Close(_isVersions ? "ListVersionsResult"u8 : "ListBucketResult"u8);
        _xml.Flush();
    }

    private void RowBody(in ObjectRow row)
    {
        _xml.Name(row.Key, _isUrlEncoded);
        _xml.Raw("</Key><LastModified>"u8);
        _xml.Time(row.LastModified);
        _xml.Raw("</LastModified><ETag>"u8);
        _xml.QuotedETag(row.ETag);
        _xml.Raw("</ETag>"u8);
        if (row.ChecksumAlgorithm is { } algorithm)
        {
            _xml.Raw("<ChecksumAlgorithm>"u8);
            _xml.Raw(algorithm.WireName());
            _xml.Raw("</ChecksumAlgorithm><ChecksumType>"u8);
            _xml.Raw(row.ChecksumType == ChecksumType.Composite ? "COMPOSITE"u8 : "FULL_OBJECT"u8);
            _xml.Raw("</ChecksumType>"u8);
        }

        _xml.Raw("<Size>"u8);
        _xml.Number(row.Size);
        _xml.Raw("</Size>"u8);
        if (row.Owner is not null) ResponseXml.Owner(ref _xml, "Owner"u8, row.Owner);
        _xml.Raw("<StorageClass>"u8);
        _xml.Raw(row.StorageClass);
        _xml.Raw("</StorageClass>"u8);
    }

    private void BeginCommon(ReadOnlySpan<byte> root, ObjectListing listing)
    {
        ResponseXml.Begin(ref _xml, root);
        _xml.Element("Name"u8, listing.Bucket);
        NameElement("Prefix"u8, listing.Prefix);
    }

    private void FinishHead(ObjectListing listing)
    {
        _xml.Element("MaxKeys"u8, listing.MaxKeys);
        if (listing.Delimiter is not null) NameElement("Delimiter"u8, listing.Delimiter);
        if (listing.IsUrlEncoded) _xml.Raw("<EncodingType>url</EncodingType>"u8);
        _xml.Element("IsTruncated"u8, listing.IsTruncated);
    }

    private void NameElement(ReadOnlySpan<byte> name, string value)
    {
        _xml.Open(name);
        _xml.Name(value, _isUrlEncoded);
        _xml.Close(name);
    }
}
