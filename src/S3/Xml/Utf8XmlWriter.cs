using System.Buffers;
using System.Buffers.Text;
using System.Runtime.CompilerServices;
using System.Text;
using ObjectStore.S3.Headers;
using ObjectStore.S3.Routing;

namespace ObjectStore.S3.Xml;

/// <summary>
/// Writes S3's XML as UTF-8, straight into a buffer writer. It knows no nesting: the caller writes both tags. Call <see cref="Flush"/> at the end.
/// </summary>
public ref struct Utf8XmlWriter
{
    private const int MinimumSpan = 4096;

    // What XML cannot carry in text, and the control characters that S3 writes as references. '"' is escaped as S3 does in ETag.
    private static readonly SearchValues<byte> Special = SearchValues.Create(
        [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31,
         (byte)'&', (byte)'<', (byte)'>', (byte)'"', 127]);

    private readonly IBufferWriter<byte> _output;
    private Span<byte> _span;
    private int _position;

    /// <summary>Begins a document without writing anything.</summary>
    public Utf8XmlWriter(IBufferWriter<byte> output)
    {
        _output = output;
        _span = output.GetSpan(MinimumSpan);
        _position = 0;
    }

    /// <summary>Writes the XML declaration.</summary>
    public void Declaration() => Raw("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n"u8);

    /// <summary>Writes bytes as they are.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public void Raw(scoped ReadOnlySpan<byte> bytes)
    {
        if (bytes.Length <= _span.Length - _position)
        {
            bytes.CopyTo(_span[_position..]);
            _position += bytes.Length;
        }
        else
        {
            RawSlow(bytes);
        }
    }

    /// <summary>Writes text, escaped. The bytes must be UTF-8.</summary>
    public void Text(scoped ReadOnlySpan<byte> utf8)
    {
        int special;
        while ((special = utf8.IndexOfAny(Special)) >= 0)
        {
            Raw(utf8[..special]);
            Escape(utf8[special]);
            utf8 = utf8[(special + 1)..];
        }

        Raw(utf8);
    }

    /// <summary>Writes text, escaped.</summary>
    public void Text(scoped ReadOnlySpan<char> text)
    {
        int capacity = text.Length * 3;
        byte[]? rented = null;
        Span<byte> utf8 = capacity <= 768 ? stackalloc byte[768] : rented = ArrayPool<byte>.Shared.Rent(capacity);
        int length = Encoding.UTF8.GetBytes(text, utf8);
        Text(utf8[..length]);
        if (rented is not null) ArrayPool<byte>.Shared.Return(rented);
    }

    /// <summary>Writes a name, percent-encoded when <paramref name="urlEncoded"/> (encoding-type=url), else escaped.</summary>
    public void Name(scoped ReadOnlySpan<byte> utf8, bool urlEncoded)
    {
        if (!urlEncoded)
        {
            Text(utf8);
            return;
        }

        Ensure(utf8.Length * 3);
        _position += PercentEncoding.Encode(utf8, _span[_position..], keepSlash: true);
    }

    /// <summary>Writes a name; see the other overload.</summary>
    public void Name(scoped ReadOnlySpan<char> text, bool urlEncoded)
    {
        if (!urlEncoded) Text(text);
        else Raw(Encoding.UTF8.GetBytes(PercentEncoding.EncodeToString(text, keepSlash: true)));
    }

    /// <summary>Writes a whole number.</summary>
    public void Number(long value)
    {
        Ensure(20);
        Utf8Formatter.TryFormat(value, _span[_position..], out int written);
        _position += written;
    }

    /// <summary>Writes "true" or "false".</summary>
    public void Boolean(bool value) => Raw(value ? "true"u8 : "false"u8);

    /// <summary>Writes an entity tag within its quotes, which S3 escapes.</summary>
    public void QuotedETag(ETag etag)
    {
        Ensure(ETag.MaxTextLength + 12);
        "&quot;"u8.CopyTo(_span[_position..]);
        _position += 6;
        _position += etag.Format(_span[_position..], quoted: false);
        "&quot;"u8.CopyTo(_span[_position..]);
        _position += 6;
    }

    /// <summary>Writes a time as <c>2026-11-21T05:06:07.000Z</c>.</summary>
    public void Time(DateTime utc)
    {
        Ensure(S3Time.Iso8601Length);
        S3Time.FormatIso8601(utc, _span[_position..]);
        _position += S3Time.Iso8601Length;
    }

    /// <summary>Writes an element with text; <paramref name="name"/> is the bare name.</summary>
    public void Element(scoped ReadOnlySpan<byte> name, scoped ReadOnlySpan<char> text)
    {
        Open(name);
        Text(text);
        Close(name);
    }

    /// <summary>Writes an element with text, or nothing when <paramref name="text"/> is null.</summary>
    public void OptionalElement(scoped ReadOnlySpan<byte> name, string? text)
    {
        if (text is not null) Element(name, text);
    }

    /// <summary>Writes an element with a whole number.</summary>
    public void Element(scoped ReadOnlySpan<byte> name, long value)
    {
        Open(name);
        Number(value);
        Close(name);
    }

    /// <summary>Writes an element with "true" or "false".</summary>
    public void Element(scoped ReadOnlySpan<byte> name, bool value)
    {
        Open(name);
        Boolean(value);
        Close(name);
    }

    /// <summary>Writes an element with a time.</summary>
    public void Element(scoped ReadOnlySpan<byte> name, DateTime utc)
    {
        Open(name);
        Time(utc);
        Close(name);
    }

    /// <summary>Writes an element with a quoted entity tag.</summary>
    public void Element(scoped ReadOnlySpan<byte> name, ETag etag)
    {
        Open(name);
        QuotedETag(etag);
        Close(name);
    }

    /// <summary>Writes a start tag.</summary>
    public void Open(scoped ReadOnlySpan<byte> name)
    {
        Raw("<"u8);
        Raw(name);
        Raw(">"u8);
    }

    /// <summary>Writes an end tag.</summary>
    public void Close(scoped ReadOnlySpan<byte> name)
    {
        Raw("</"u8);
        Raw(name);
        Raw(">"u8);
    }

    /// <summary>Hands what was written to the buffer writer. The writer may be used on.</summary>
    public void Flush()
    {
        _output.Advance(_position);
        _position = 0;
        _span = default;
    }

    private void Ensure(int count)
    {
        if (_span.Length - _position >= count) return;
        _output.Advance(_position);
        _position = 0;
        _span = _output.GetSpan(Math.Max(count, MinimumSpan));
    }

    private void RawSlow(scoped ReadOnlySpan<byte> bytes)
    {
        Ensure(bytes.Length);
        bytes.CopyTo(_span[_position..]);
        _position += bytes.Length;
    }

    private void Escape(byte value)
    {
        switch (value)
        {
            case (byte)'&': Raw("&amp;"u8); break;
            case (byte)'<': Raw("&lt;"u8); break;
            case (byte)'>': Raw("&gt;"u8); break;
            case (byte)'"': Raw("&quot;"u8); break;
            default:
                // Most of these are not legal in XML 1.0 even as references; S3 writes them so all the same, and encoding-type=url is the way out.
                Raw("&#x"u8);
                Ensure(2);
                if (value >= 16) _span[_position++] = HexDigit(value >> 4);
                _span[_position++] = HexDigit(value & 15);
                Raw(";"u8);
                break;
        }
    }

    private static byte HexDigit(int value) => (byte)(value < 10 ? '0' + value : 'a' + value - 10);
}
