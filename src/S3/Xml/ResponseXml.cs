using System.Buffers;
using ObjectStore.S3.Checksums;
using ObjectStore.S3.Errors;
using ObjectStore.S3.Headers;

namespace ObjectStore.S3.Xml;

/// <summary>A bucket of ListBuckets.</summary>
public readonly record struct BucketRow(string Name, DateTime CreationDate, string? Region = null);

/// <summary>A part of ListParts.</summary>
public readonly record struct PartRow(int PartNumber, DateTime LastModified, ETag ETag, long Size, ChecksumValue? Checksum = null);

/// <summary>An upload of ListMultipartUploads.</summary>
public sealed record UploadRow(
    string Key, string UploadId, DateTime Initiated, string StorageClass, S3Owner? Owner = null, S3Owner? Initiator = null,
    ChecksumAlgorithm? ChecksumAlgorithm = null, ChecksumType ChecksumType = ChecksumType.Composite);

/// <summary>What ListParts says about its upload and page.</summary>
public sealed record PartListing
{
    /// <summary>The bucket.</summary>
    public required string Bucket { get; init; }

    /// <summary>The key.</summary>
    public required string Key { get; init; }

    /// <summary>The upload id.</summary>
    public required string UploadId { get; init; }

    /// <summary>The storage class of the upload.</summary>
    public string StorageClass { get; init; } = Headers.StorageClass.Standard;

    /// <summary>part-number-marker.</summary>
    public int PartNumberMarker { get; init; }

    /// <summary>The last part number of the page; written when truncated.</summary>
    public int NextPartNumberMarker { get; init; }

    /// <summary>max-parts.</summary>
    public int MaxParts { get; init; } = 1000;

    /// <summary>True when more parts follow.</summary>
    public bool IsTruncated { get; init; }

    /// <summary>The owner, or null.</summary>
    public S3Owner? Owner { get; init; }

    /// <summary>The upload's checksum algorithm, or null.</summary>
    public ChecksumAlgorithm? ChecksumAlgorithm { get; init; }

    /// <summary>The upload's checksum type.</summary>
    public ChecksumType ChecksumType { get; init; }
}

/// <summary>An outcome within DeleteResult: a deletion, or an error when <see cref="Error"/> is set.</summary>
public sealed record DeleteOutcome(string Key, string? VersionId = null, bool IsDeleteMarker = false, string? DeleteMarkerVersionId = null, S3Error? Error = null);

/// <summary>Writers of whole responses. Each writes a complete document.</summary>
public static class ResponseXml
{
    /// <summary>The Content-Type of every XML response.</summary>
    public const string ContentType = "application/xml";

    /// <summary>ListBuckets.</summary>
    public static void ListAllMyBuckets(
        IBufferWriter<byte> output, S3Owner owner, IEnumerable<BucketRow> buckets, string? prefix = null, string? continuationToken = null)
    {
        Utf8XmlWriter xml = new(output);
        Begin(ref xml, "ListAllMyBucketsResult"u8);
        Owner(ref xml, "Owner"u8, owner);
        xml.Open("Buckets"u8);
        foreach (BucketRow bucket in buckets)
        {
            xml.Open("Bucket"u8);
            xml.Element("Name"u8, bucket.Name);
            xml.Element("CreationDate"u8, bucket.CreationDate);
            xml.OptionalElement("BucketRegion"u8, bucket.Region);
            xml.Close("Bucket"u8);
        }

        xml.Close("Buckets"u8);
        xml.OptionalElement("Prefix"u8, prefix);
        xml.OptionalElement("ContinuationToken"u8, continuationToken);
        End(ref xml, "ListAllMyBucketsResult"u8);
    }

    /// <summary>GetBucketLocation. us-east-1 and null are written as an empty constraint, as S3 does.</summary>
    public static void LocationConstraint(IBufferWriter<byte> output, string? region)
    {
        Utf8XmlWriter xml = new(output);
        Begin(ref xml, "LocationConstraint"u8);
        if (region is not null and not "us-east-1") xml.Text(region);
        End(ref xml, "LocationConstraint"u8);
    }

    /// <summary>GetBucketVersioning; <paramref name="status"/> is "Enabled", "Suspended" or null for a bucket that never had it.</summary>
    public static void VersioningConfiguration(IBufferWriter<byte> output, string? status)
    {
        Utf8XmlWriter xml = new(output);
        Begin(ref xml, "VersioningConfiguration"u8);
        xml.OptionalElement("Status"u8, status);
        End(ref xml, "VersioningConfiguration"u8);
    }

    /// <summary>GetObjectTagging and GetBucketTagging.</summary>
    public static void Tagging(IBufferWriter<byte> output, IEnumerable<KeyValuePair<string, string>> tags)
    {
        Utf8XmlWriter xml = new(output);
        Begin(ref xml, "Tagging"u8);
        xml.Open("TagSet"u8);
        foreach ((string key, string value) in tags)
        {
            xml.Open("Tag"u8);
            xml.Element("Key"u8, key);
            xml.Element("Value"u8, value);
            xml.Close("Tag"u8);
        }

        xml.Close("TagSet"u8);
        End(ref xml, "Tagging"u8);
    }

    /// <summary>CreateMultipartUpload.</summary>
    public static void InitiateMultipartUpload(IBufferWriter<byte> output, string bucket, string key, string uploadId)
    {
        Utf8XmlWriter xml = new(output);
        Begin(ref xml, "InitiateMultipartUploadResult"u8);
        xml.Element("Bucket"u8, bucket);
        xml.Element("Key"u8, key);
        xml.Element("UploadId"u8, uploadId);
        End(ref xml, "InitiateMultipartUploadResult"u8);
    }

    /// <summary>ListMultipartUploads.</summary>
    public static void ListMultipartUploads(
        IBufferWriter<byte> output, ObjectListing listing, IEnumerable<UploadRow> uploads, IEnumerable<string> commonPrefixes)
    {
        bool encoded = listing.IsUrlEncoded;
        Utf8XmlWriter xml = new(output);
        Begin(ref xml, "ListMultipartUploadsResult"u8);
        xml.Element("Bucket"u8, listing.Bucket);
        Name(ref xml, "KeyMarker"u8, listing.Marker ?? "", encoded);
        xml.Element("UploadIdMarker"u8, listing.IdMarker ?? "");
        if (listing.NextMarker is not null) Name(ref xml, "NextKeyMarker"u8, listing.NextMarker, encoded);
        xml.OptionalElement("NextUploadIdMarker"u8, listing.NextIdMarker);
        Name(ref xml, "Prefix"u8, listing.Prefix, encoded);
        if (listing.Delimiter is not null) Name(ref xml, "Delimiter"u8, listing.Delimiter, encoded);
        if (encoded) xml.Element("EncodingType"u8, "url");
        xml.Element("MaxUploads"u8, listing.MaxKeys);
        xml.Element("IsTruncated"u8, listing.IsTruncated);
        foreach (UploadRow upload in uploads)
        {
            xml.Open("Upload"u8);
            Name(ref xml, "Key"u8, upload.Key, encoded);
            xml.Element("UploadId"u8, upload.UploadId);
            if (upload.Initiator is not null) Owner(ref xml, "Initiator"u8, upload.Initiator);
            if (upload.Owner is not null) Owner(ref xml, "Owner"u8, upload.Owner);
            xml.Element("StorageClass"u8, upload.StorageClass);
            xml.Element("Initiated"u8, upload.Initiated);
            ChecksumKind(ref xml, upload.ChecksumAlgorithm, upload.ChecksumType);
            xml.Close("Upload"u8);
        }

        foreach (string prefix in commonPrefixes)
        {
            xml.Open("CommonPrefixes"u8);
            Name(ref xml, "Prefix"u8, prefix, encoded);
            xml.Close("CommonPrefixes"u8);
        }

        End(ref xml, "ListMultipartUploadsResult"u8);
    }

    /// <summary>ListParts.</summary>
    public static void ListParts(IBufferWriter<byte> output, PartListing listing, IEnumerable<PartRow> parts)
    {
        Utf8XmlWriter xml = new(output);
        Begin(ref xml, "ListPartsResult"u8);
        xml.Element("Bucket"u8, listing.Bucket);
        xml.Element("Key"u8, listing.Key);
        xml.Element("UploadId"u8, listing.UploadId);
        if (listing.Owner is not null)
        {
            Owner(ref xml, "Initiator"u8, listing.Owner);
            Owner(ref xml, "Owner"u8, listing.Owner);
        }

        xml.Element("StorageClass"u8, listing.StorageClass);
        xml.Element("PartNumberMarker"u8, listing.PartNumberMarker);
        if (listing.IsTruncated) xml.Element("NextPartNumberMarker"u8, listing.NextPartNumberMarker);
        xml.Element("MaxParts"u8, listing.MaxParts);
        xml.Element("IsTruncated"u8, listing.IsTruncated);
        ChecksumKind(ref xml, listing.ChecksumAlgorithm, listing.ChecksumType);
        foreach (PartRow part in parts)
        {
            xml.Open("Part"u8);
            xml.Element("PartNumber"u8, part.PartNumber);
            xml.Element("LastModified"u8, part.LastModified);
            xml.Element("ETag"u8, part.ETag);
            xml.Element("Size"u8, part.Size);
            Checksum(ref xml, part.Checksum, withType: null);
            xml.Close("Part"u8);
        }

        End(ref xml, "ListPartsResult"u8);
    }

    /// <summary>CompleteMultipartUpload.</summary>
    public static void CompleteMultipartUpload(
        IBufferWriter<byte> output, string location, string bucket, string key, ETag etag, ChecksumValue? checksum = null, ChecksumType? type = null)
    {
        Utf8XmlWriter xml = new(output);
        Begin(ref xml, "CompleteMultipartUploadResult"u8);
        xml.Element("Location"u8, location);
        xml.Element("Bucket"u8, bucket);
        xml.Element("Key"u8, key);
        xml.Element("ETag"u8, etag);
        Checksum(ref xml, checksum, type);
        End(ref xml, "CompleteMultipartUploadResult"u8);
    }

    /// <summary>CopyObject.</summary>
    public static void CopyObject(IBufferWriter<byte> output, DateTime lastModified, ETag etag, ChecksumValue? checksum = null, ChecksumType? type = null) =>
        Copy(output, "CopyObjectResult"u8, lastModified, etag, checksum, type);

    /// <summary>UploadPartCopy.</summary>
    public static void CopyPart(IBufferWriter<byte> output, DateTime lastModified, ETag etag, ChecksumValue? checksum = null) =>
        Copy(output, "CopyPartResult"u8, lastModified, etag, checksum, type: null);

    /// <summary>DeleteObjects. With <paramref name="quiet"/> only the errors are written.</summary>
    public static void DeleteResult(IBufferWriter<byte> output, IEnumerable<DeleteOutcome> outcomes, bool quiet)
    {
        Utf8XmlWriter xml = new(output);
        Begin(ref xml, "DeleteResult"u8);
        foreach (DeleteOutcome outcome in outcomes)
        {
            if (outcome.Error is { } error)
            {
                xml.Open("Error"u8);
                xml.Element("Key"u8, outcome.Key);
                xml.OptionalElement("VersionId"u8, outcome.VersionId);
                xml.Element("Code"u8, error.Code.Code);
                xml.Element("Message"u8, error.Message);
                xml.Close("Error"u8);
            }
            else if (!quiet)
            {
                xml.Open("Deleted"u8);
                xml.Element("Key"u8, outcome.Key);
                xml.OptionalElement("VersionId"u8, outcome.VersionId);
                if (outcome.IsDeleteMarker) xml.Element("DeleteMarker"u8, true);
                xml.OptionalElement("DeleteMarkerVersionId"u8, outcome.DeleteMarkerVersionId);
                xml.Close("Deleted"u8);
            }
        }

        End(ref xml, "DeleteResult"u8);
    }

    /// <summary>An error. S3 puts it in no namespace.</summary>
    public static void Error(IBufferWriter<byte> output, S3Error error)
    {
        Utf8XmlWriter xml = new(output);
        xml.Declaration();
        xml.Open("Error"u8);
        xml.Element("Code"u8, error.Code.Code);
        xml.Element("Message"u8, error.Message);
        foreach (S3ErrorDetail detail in error.Details)
        {
            xml.Raw("<"u8);
            xml.Text(detail.Name);
            xml.Raw(">"u8);
            xml.Text(detail.Value);
            xml.Raw("</"u8);
            xml.Text(detail.Name);
            xml.Raw(">"u8);
        }

        xml.OptionalElement("Resource"u8, error.Resource);
        xml.OptionalElement("RequestId"u8, error.RequestId);
        xml.Close("Error"u8);
        xml.Flush();
    }

    internal static void Begin(ref Utf8XmlWriter xml, ReadOnlySpan<byte> root)
    {
        xml.Declaration();
        xml.Raw("<"u8);
        xml.Raw(root);
        xml.Raw(" xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">"u8);
    }

    internal static void Owner(ref Utf8XmlWriter xml, ReadOnlySpan<byte> element, S3Owner owner)
    {
        xml.Open(element);
        xml.Element("ID"u8, owner.Id);
        xml.OptionalElement("DisplayName"u8, owner.DisplayName);
        xml.Close(element);
    }

    private static void End(ref Utf8XmlWriter xml, ReadOnlySpan<byte> root)
    {
        xml.Close(root);
        xml.Flush();
    }

    private static void Name(ref Utf8XmlWriter xml, ReadOnlySpan<byte> element, string value, bool encoded)
    {
        xml.Open(element);
        xml.Name(value, encoded);
        xml.Close(element);
    }

    private static void Copy(IBufferWriter<byte> output, ReadOnlySpan<byte> root, DateTime lastModified, ETag etag, ChecksumValue? checksum, ChecksumType? type)
    {
        Utf8XmlWriter xml = new(output);
        Begin(ref xml, root);
        xml.Element("LastModified"u8, lastModified);
        xml.Element("ETag"u8, etag);
        Checksum(ref xml, checksum, type);
        End(ref xml, root);
    }

    private static void Checksum(ref Utf8XmlWriter xml, ChecksumValue? checksum, ChecksumType? withType)
    {
        if (checksum is not { } value) return;
        xml.Element(value.Algorithm.XmlElementName(), value.ToString());
        if (withType is { } type) xml.Element("ChecksumType"u8, type == ChecksumType.Composite ? "COMPOSITE" : "FULL_OBJECT");
    }

    private static void ChecksumKind(ref Utf8XmlWriter xml, ChecksumAlgorithm? algorithm, ChecksumType type)
    {
        if (algorithm is not { } value) return;
        xml.Open("ChecksumAlgorithm"u8);
        xml.Raw(value.WireName());
        xml.Close("ChecksumAlgorithm"u8);
        xml.Element("ChecksumType"u8, type == ChecksumType.Composite ? "COMPOSITE" : "FULL_OBJECT");
    }
}
