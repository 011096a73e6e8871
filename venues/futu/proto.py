"""The gateway's protobuf messages, as far as bookreel reads them, and the classes made from them.

:data:`PROTO` is ordinary proto2. Field numbers and types are the protocol's; names are bookreel's own, in snake case,
since they are not on the wire but in the gateway's REST replies (``oreder_count`` is spelled so there). Fields that
are left out are skipped when read; whoever keeps a body keeps them.

The classes come from a pool of their own under the package name ``bookreel.futu``, so that nothing here can clash
with other generated code in the same process.
"""

from __future__ import annotations

import re
from typing import Any, Final

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

__all__ = ["PROTO", "PUSHES", "message_class"]

PROTO: Final = """
syntax = "proto2";
package bookreel.futu;

message Security { required int32 market = 1; required string code = 2; }

message Ticker {
  required string time = 1; required int64 sequence = 2; required int32 dir = 3; required double price = 4;
  required int64 volume = 5; required double turnover = 6; optional double recv_time = 7; optional int32 type = 8;
  optional int32 type_sign = 9; optional int32 push_data_type = 10; optional double timestamp = 11;
  optional double hp_volume = 12;
}
message OrderBook {
  required double price = 1; required int64 volume = 2; required int32 oreder_count = 3;
  optional double hp_volume = 5;
}
message Broker {
  required int64 id = 1; required string name = 2; required int32 pos = 3; optional int64 order_id = 4;
  optional int64 volume = 5;
}
message KLine {
  required string time = 1; required bool is_blank = 2; optional double high_price = 3;
  optional double open_price = 4; optional double low_price = 5; optional double close_price = 6;
  optional double last_close_price = 7; optional int64 volume = 8; optional double turnover = 9;
  optional double turnover_rate = 10; optional double pe = 11; optional double change_rate = 12;
  optional double timestamp = 13; optional double hp_volume = 14;
}
message TimeShare {
  required string time = 1; required int32 minute = 2; required bool is_blank = 3; optional double price = 4;
  optional double last_close_price = 5; optional double avg_price = 6; optional int64 volume = 7;
  optional double turnover = 8; optional double timestamp = 9; optional double hp_volume = 10;
}
message PreAfterMarketData {
  optional double price = 1; optional double high_price = 2; optional double low_price = 3;
  optional int64 volume = 4; optional double turnover = 5; optional double change_val = 6;
  optional double change_rate = 7; optional double amplitude = 8;
}
message BasicQot {
  required Security security = 1; required bool is_suspended = 2; required string list_time = 3;
  required double price_spread = 4; required string update_time = 5; required double high_price = 6;
  required double open_price = 7; required double low_price = 8; required double cur_price = 9;
  required double last_close_price = 10; required int64 volume = 11; required double turnover = 12;
  required double turnover_rate = 13; required double amplitude = 14; optional int32 dark_status = 15;
  optional double list_timestamp = 17; optional double update_timestamp = 18;
  optional PreAfterMarketData pre_market = 19; optional PreAfterMarketData after_market = 20;
  optional int32 sec_status = 21; optional string name = 24; optional PreAfterMarketData overnight = 25;
  optional double hp_volume = 26;
}

message UpdateBasicQot { repeated BasicQot basic_qot_list = 1; }
message UpdateKL {
  required int32 rehab_type = 1; required int32 kl_type = 2; required Security security = 3;
  repeated KLine kl_list = 4; optional string name = 5;
}
message UpdateRT { required Security security = 1; repeated TimeShare rt_list = 2; optional string name = 3; }
message UpdateTicker { required Security security = 1; repeated Ticker ticker_list = 2; optional string name = 3; }
message UpdateOrderBook {
  required Security security = 1; repeated OrderBook order_book_ask_list = 2;
  repeated OrderBook order_book_bid_list = 3; optional string svr_recv_time_bid = 4;
  optional double svr_recv_time_bid_timestamp = 5; optional string svr_recv_time_ask = 6;
  optional double svr_recv_time_ask_timestamp = 7; optional string name = 8; optional int32 order_book_type = 9;
}
message UpdateBroker {
  required Security security = 1; repeated Broker broker_ask_list = 2; repeated Broker broker_bid_list = 3;
  optional string name = 4;
}
message UpdatePriceReminder {
  required Security security = 1; required double price = 2; required double change_rate = 3;
  required int32 market_status = 4; required string content = 5; required string note = 6; optional int64 key = 7;
  optional int32 type = 8; optional double set_value = 9; optional double cur_value = 10; optional string name = 11;
}

message GtwEvent { required int32 event_type = 1; required string desc = 2; }
message ConnectStatus { required bool qot_logined = 1; required bool trd_logined = 2; }
message ApiQuota { required int32 sub_quota = 1; required int32 history_kl_quota = 2; }
message UsedQuota { optional int32 used_sub_quota = 1; optional int32 used_k_line_quota = 2; }
message Notify {
  required int32 type = 1; optional GtwEvent event = 2; optional ConnectStatus connect_status = 4;
  optional ApiQuota api_quota = 7; optional UsedQuota used_quota = 8;
}
"""

PUSHES: Final[dict[int, str]] = {
    1003: "Notify",
    3005: "UpdateBasicQot",
    3007: "UpdateKL",
    3009: "UpdateRT",
    3011: "UpdateTicker",
    3013: "UpdateOrderBook",
    3015: "UpdateBroker",
    3019: "UpdatePriceReminder",
}
"""Number of a push to its message, the ``s2c`` of the whole push."""

_RESPONSE: Final = (
    "required int32 ret_type = 1; optional string ret_msg = 2; "
    "optional int32 err_code = 3; optional {} s2c = 4;"
)
"""Every push is such a response around its message; it becomes ``<message>Response``."""

_MESSAGE: Final = re.compile(r"message (\w+) \{([^}]*)\}")
_FIELD: Final = re.compile(r"(required|optional|repeated) (\w+) (\w+) = (\d+);")


def _make_classes() -> dict[str, Any]:
    file = descriptor_pb2.FileDescriptorProto(
        name="bookreel/futu.proto", package="bookreel.futu", syntax="proto2"
    )
    messages = dict(_MESSAGE.findall(PROTO))
    messages |= {f"{name}Response": _RESPONSE.format(name) for name in PUSHES.values()}
    for name, fields in messages.items():
        message = file.message_type.add(name=name)
        for label, kind, field, number in _FIELD.findall(fields):
            added = message.field.add(name=field, number=int(number))
            added.label = added.Label.Value(f"LABEL_{label.upper()}")
            if kind in messages:
                added.type = added.TYPE_MESSAGE
                added.type_name = f".bookreel.futu.{kind}"
            else:
                added.type = added.Type.Value(f"TYPE_{kind.upper()}")
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return {
        name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"bookreel.futu.{name}"))
        for name in messages
    }


_CLASSES: Final = _make_classes()
"""All of them, for ever, those inside of others too. A class that nobody holds is garbage whenever no message of it
is there, and a thread that then reads one while another collects would use a class that is being taken apart, which
ends the process. Made while the module is imported, and so once, whichever thread comes first."""


def message_class(name: str) -> Any:
    """The class of a message of :data:`PROTO`, or of ``<message>Response`` for one of :data:`PUSHES`."""
    return _CLASSES[name]
