using ObjectStore.Storage.Extents;

namespace ObjectStore.Storage.Transport;

/// <summary>
/// The errors of the data plane as the body of an answer, and back. What a drive says arrives as the exception that it threw; what is not known arrives as
/// <see cref="DriveUnavailableException"/>, which says nothing of what the drive holds.
/// </summary>
internal static class FragmentErrors
{
    /// <summary>Whether the exception can be told to a peer as what it is.</summary>
    public static FragmentStatus StatusOf(Exception error) => error switch
    {
        DriveFullException => FragmentStatus.DriveFull,
        VolumePoisonedException => FragmentStatus.VolumePoisoned,
        VolumeWriterException => FragmentStatus.VolumeWriter,
        FragmentCorruptException => FragmentStatus.FragmentCorrupt,
        FragmentMissingException => FragmentStatus.FragmentMissing,
        DriveUnavailableException => FragmentStatus.DriveUnavailable,
        FrameException or ArgumentException => FragmentStatus.BadRequest,
        _ => FragmentStatus.Failed,
    };

    /// <summary>The HTTP status, for those who read logs; what counts is in the frame.</summary>
    public static int HttpStatusOf(FragmentStatus status) => status switch
    {
        FragmentStatus.Ok => 200,
        FragmentStatus.BadRequest or FragmentStatus.PayloadDamaged => 400,
        FragmentStatus.FragmentMissing or FragmentStatus.UnknownDrive => 404,
        FragmentStatus.OtherInstance => 409,
        FragmentStatus.DriveFull => 507,
        _ => 500,
    };

    public static void Write(FrameWriter frame, Exception error)
    {
        switch (error)
        {
            case DriveFullException full:
                frame.Int64(full.FreeBytes);
                frame.Int64(full.HeadroomBytes);
                break;
            case VolumePoisonedException poisoned:
                frame.Int64(poisoned.VolumeId);
                frame.Text(poisoned.InnerException?.Message ?? "");
                break;
            case VolumeWriterException writer:
                frame.Text(writer.InnerException?.Message ?? writer.Message);
                break;
            case FragmentCorruptException corrupt:
                WritePlace(frame, corrupt.Extent, corrupt.Block, corrupt.Shard);
                frame.Int64(corrupt.VolumeId);
                frame.Int64(corrupt.OffsetBytes);
                frame.Text(corrupt.Message);
                break;
            case FragmentMissingException missing:
                WritePlace(frame, missing.Extent, missing.Block, missing.Shard);
                break;
            default:
                frame.Text(error.Message);
                break;
        }
    }

    /// <summary>Never throws but for a frame that cannot be.</summary>
    public static StorageException Read(FragmentStatus status, ref FrameReader reader, Guid drive, string node)
    {
        switch (status)
        {
            case FragmentStatus.DriveFull:
                return new DriveFullException(drive, reader.Int64(), reader.Int64());
            case FragmentStatus.VolumePoisoned:
                long volume = reader.Int64();
                return new VolumePoisonedException(drive, volume, new IOException($"{node}: {reader.Text()}"));
            case FragmentStatus.VolumeWriter:
                return new VolumeWriterException(drive, new IOException($"{node}: {reader.Text()}"));
            case FragmentStatus.FragmentCorrupt:
                (ExtentId extent, int block, int shard) = ReadPlace(ref reader);
                return new FragmentCorruptException(extent, block, shard, drive, reader.Int64(), reader.Int64(), $"{node} says: {reader.Text()}");
            case FragmentStatus.FragmentMissing:
                (extent, block, shard) = ReadPlace(ref reader);
                return new FragmentMissingException(extent, block, shard);
            case FragmentStatus.UnknownDrive:
                return new DriveUnavailableException(drive, $"{node} does not have it");
            default:
                return new DriveUnavailableException(drive, $"{node} says: {reader.Text()}");
        }
    }

    private static void WritePlace(FrameWriter frame, ExtentId extent, int block, int shard)
    {
        extent.WriteTo(frame.Take(ExtentId.SizeBytes));
        frame.Int32(block);
        frame.Int32(shard);
    }

    private static (ExtentId Extent, int Block, int Shard) ReadPlace(ref FrameReader reader) => (ExtentId.ReadFrom(reader.Take(ExtentId.SizeBytes)), reader.Int32(), reader.Int32());
}
