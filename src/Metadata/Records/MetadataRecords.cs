using System.Collections.Immutable;
using ObjectStore.Grains;

namespace ObjectStore.Metadata.Records;

/// <summary>
/// The binary records of the database: object version, upload, part (docs/formats/metadata.md). Encoding throws <see cref="ArgumentException"/>
/// for what has no form (a lone surrogate, an unknown storage class); decoding throws <see cref="MetadataRecordException"/>.
/// </summary>
public static class MetadataRecords
{
    private const byte ObjectVersionKind = 0xA1;
    private const byte UploadKind = 0xA2;
    private const byte PartKind = 0xA3;
    private const byte NewestVersion = 1;

    private const byte NullVersionFlag = 1;
    private const byte DeleteMarkerFlag = 2;
    private const byte ContentTypeFlag = 4;
    private const byte ChecksumFlag = 8;

    // Part number, length, group, extent, scheme, block size, ETag with its count, checksum code.
    private const int LeastBytesOfPart = 1 + 1 + 1 + 16 + 1 + 1 + 17 + 1;

    /// <summary>A version's record.</summary>
    public static byte[] EncodeVersion(ObjectVersion version)
    {
        var writer = new RecordWriter(ObjectVersionKind, NewestVersion);
        try
        {
            writer.Byte((byte)((version.IsNullVersion ? NullVersionFlag : 0)
                | (version.IsDeleteMarker ? DeleteMarkerFlag : 0)
                | (version.Headers.ContentType is null ? 0 : ContentTypeFlag)
                | (version.Checksum is null ? 0 : ChecksumFlag)));
            writer.Id(version.VersionId.High, version.VersionId.Low);
            writer.Signed(version.SizeBytes);
            writer.ETag(version.ETag);
            writer.Signed(version.LastModifiedUnixMs);
            writer.Byte(RecordNames.StorageClassCode(version.StorageClass));
            if (version.Checksum is not null)
            {
                WriteChecksum(ref writer, version.Checksum);
            }

            WriteHeaders(ref writer, version.Headers);
            writer.Number((ulong)version.Parts.AsSpan().Length);
            foreach (PartLayout part in version.Parts.AsSpan())
            {
                WritePart(ref writer, part);
            }

            return writer.Finish();
        }
        finally
        {
            writer.Dispose();
        }
    }

    /// <summary>A version from its record.</summary>
    public static ObjectVersion DecodeVersion(ReadOnlySpan<byte> record)
    {
        var reader = new RecordReader(record, ObjectVersionKind, NewestVersion, "object version");
        byte flags = reader.Byte();
        if ((flags & ~(NullVersionFlag | DeleteMarkerFlag | ContentTypeFlag | ChecksumFlag)) != 0)
        {
            throw new MetadataRecordException("The object version record is damaged: it has unknown flags.");
        }

        (ulong high, ulong low) = reader.Id();
        long sizeBytes = reader.Signed();
        ETag etag = reader.ETag();
        long lastModified = reader.Signed();
        string storageClass = RecordNames.StorageClassName(reader.Byte());
        ObjectChecksum? checksum = (flags & ChecksumFlag) != 0 ? ReadChecksum(ref reader) : null;
        ObjectHeaders headers = ReadHeaders(ref reader, (flags & ContentTypeFlag) != 0);

        int partCount = reader.Count(LeastBytesOfPart);
        ImmutableArray<PartLayout> parts = [];
        if (partCount > 0)
        {
            ImmutableArray<PartLayout>.Builder builder = ImmutableArray.CreateBuilder<PartLayout>(partCount);
            for (int i = 0; i < partCount; i++)
            {
                builder.Add(ReadPart(ref reader));
            }

            parts = builder.MoveToImmutable();
        }

        reader.End();
        return new ObjectVersion
        {
            VersionId = new VersionId(high, low),
            IsNullVersion = (flags & NullVersionFlag) != 0,
            IsDeleteMarker = (flags & DeleteMarkerFlag) != 0,
            SizeBytes = sizeBytes,
            ETag = etag,
            LastModifiedUnixMs = lastModified,
            StorageClass = storageClass,
            Headers = headers,
            Parts = parts,
            Checksum = checksum,
        };
    }

    /// <summary>An upload's record: all of it, the bucket and key too, so that a row can be checked against its columns.</summary>
    public static byte[] EncodeUpload(UploadInfo upload)
    {
        var writer = new RecordWriter(UploadKind, NewestVersion);
        try
        {
            writer.Byte(upload.Headers.ContentType is null ? (byte)0 : ContentTypeFlag);
            writer.Id(upload.UploadId.High, upload.UploadId.Low);
            writer.Signed(upload.Bucket.Value);
            writer.Text(upload.Key);
            writer.Text(upload.Owner);
            writer.Signed(upload.InitiatedUnixMs);
            writer.Byte(RecordNames.StorageClassCode(upload.StorageClass));
            writer.Byte(RecordNames.ChecksumCode(upload.ChecksumAlgorithm, upload.ChecksumIsComposite));
            WriteHeaders(ref writer, upload.Headers);
            return writer.Finish();
        }
        finally
        {
            writer.Dispose();
        }
    }

    /// <summary>An upload from its record.</summary>
    public static UploadInfo DecodeUpload(ReadOnlySpan<byte> record)
    {
        var reader = new RecordReader(record, UploadKind, NewestVersion, "upload");
        byte flags = reader.Byte();
        if ((flags & ~ContentTypeFlag) != 0)
        {
            throw new MetadataRecordException("The upload record is damaged: it has unknown flags.");
        }

        (ulong high, ulong low) = reader.Id();
        var bucket = new BucketId(reader.Signed());
        string key = reader.Text();
        string owner = reader.Text();
        long initiated = reader.Signed();
        string storageClass = RecordNames.StorageClassName(reader.Byte());
        (string? algorithm, bool isComposite) = RecordNames.ChecksumName(reader.Byte());
        ObjectHeaders headers = ReadHeaders(ref reader, (flags & ContentTypeFlag) != 0);
        reader.End();
        return new UploadInfo(new VersionId(high, low), bucket, key, owner, initiated, storageClass, headers, algorithm, isComposite);
    }

    /// <summary>The record of an extent: an upload's part, or garbage.</summary>
    public static byte[] EncodePart(PartLayout part)
    {
        var writer = new RecordWriter(PartKind, NewestVersion);
        try
        {
            WritePart(ref writer, part);
            return writer.Finish();
        }
        finally
        {
            writer.Dispose();
        }
    }

    /// <summary>An extent from its record.</summary>
    public static PartLayout DecodePart(ReadOnlySpan<byte> record)
    {
        var reader = new RecordReader(record, PartKind, NewestVersion, "part");
        PartLayout part = ReadPart(ref reader);
        reader.End();
        return part;
    }

    private static void WritePart(ref RecordWriter writer, PartLayout part)
    {
        writer.Signed(part.PartNumber);
        writer.Signed(part.LengthBytes);
        writer.Signed(part.PlacementGroup);
        writer.Id(part.ExtentHigh, part.ExtentLow);
        writer.Signed(part.Scheme);
        writer.Signed(part.BlockSizeBytes);
        writer.ETag(part.ETag);
        if (part.Checksum is null)
        {
            writer.Byte(0);
        }
        else
        {
            WriteChecksum(ref writer, part.Checksum);
        }
    }

    private static PartLayout ReadPart(ref RecordReader reader)
    {
        int number = reader.SignedInt32();
        long lengthBytes = reader.Signed();
        int group = reader.SignedInt32();
        (ulong high, ulong low) = reader.Id();
        int scheme = reader.SignedInt32();
        int blockSizeBytes = reader.SignedInt32();
        ETag etag = reader.ETag();
        (string? algorithm, bool isComposite) = RecordNames.ChecksumName(reader.Byte());
        ObjectChecksum? checksum = algorithm is null ? null : new ObjectChecksum(algorithm, isComposite, reader.Text());
        return new PartLayout(number, lengthBytes, group, high, low, scheme, blockSizeBytes, etag, checksum);
    }

    private static void WriteChecksum(ref RecordWriter writer, ObjectChecksum checksum)
    {
        writer.Byte(RecordNames.ChecksumCode(checksum.Algorithm, checksum.IsComposite));
        writer.Text(checksum.Value);
    }

    private static ObjectChecksum ReadChecksum(ref RecordReader reader)
    {
        (string? algorithm, bool isComposite) = RecordNames.ChecksumName(reader.Byte());
        return algorithm is null
            ? throw new MetadataRecordException("The object version record is damaged: its checksum has no algorithm.")
            : new ObjectChecksum(algorithm, isComposite, reader.Text());
    }

    private static void WriteHeaders(ref RecordWriter writer, ObjectHeaders headers)
    {
        if (headers.ContentType is not null)
        {
            writer.Text(headers.ContentType);
        }

        writer.Number((ulong)headers.Values.AsSpan().Length);
        foreach ((string name, string value) in headers.Values.AsSpan())
        {
            writer.Text(name);
            writer.Text(value);
        }
    }

    private static ObjectHeaders ReadHeaders(ref RecordReader reader, bool hasContentType)
    {
        string? contentType = hasContentType ? reader.Text() : null;
        int count = reader.Count(2);
        if (contentType is null && count == 0)
        {
            return ObjectHeaders.Empty;
        }

        ImmutableArray<KeyValuePair<string, string>>.Builder values = ImmutableArray.CreateBuilder<KeyValuePair<string, string>>(count);
        for (int i = 0; i < count; i++)
        {
            string name = reader.Text();
            values.Add(new KeyValuePair<string, string>(name, reader.Text()));
        }

        return new ObjectHeaders { ContentType = contentType, Values = values.MoveToImmutable() };
    }
}
